//! Entries of journald's native protocol: `NAME=VALUE` lines in one datagram.
//! Owns the names of our fields.
//! Must never write a value that holds a line end.

use super::Line;
use conf::model::AccessForm;
use std::io::Write;

/// Writes an entry; writing to memory cannot fail.
pub(super) fn write(line: &Line<'_>, form: AccessForm, out: &mut Vec<u8>) {
    out.extend_from_slice(b"MESSAGE=");
    line.write(form, out);
    let _ = write!(
        out,
        "\nPRIORITY=6\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=relayd\nRELAYD_SESSION={}\nRELAYD_CLIENT={}\nRELAYD_RELAY=",
        line.session, line.client
    );
    out.extend_from_slice(super::shown_text(line.relay.as_bytes()).as_bytes());
    out.push(b'\n');
    if let Some(id) = line.request_id() {
        let _ = writeln!(out, "RELAYD_REQUEST={id}");
    }
    if let Some(server) = line.server {
        let _ = writeln!(out, "RELAYD_SERVER={server}");
    }
    if let Some(http) = line.http {
        let _ = writeln!(out, "RELAYD_STATUS={:03}", http.status);
    }
}
