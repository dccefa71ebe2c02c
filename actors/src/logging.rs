//! Where log lines go: standard error or syslog.
