//! What the demonstration shows, and in which order.
//! Owns the words to the reader.
//! Must never wait without a bound.

use super::web::fetch;
use super::{BOUND, Demo, Outcome, Ports, RETURN, SERVERS, say};
use std::process::Child;
use std::time::{Duration, Instant};

impl Demo {
    /// Waits until so many rows of hosts say `up`.
    fn wait_up(&mut self, wanted: usize) -> Outcome<String> {
        let end = Instant::now() + BOUND;
        loop {
            let summary = self.relayctl(&["show", "summary"])?;
            let up = summary
                .lines()
                .filter(|line| line.contains("host") && line.trim_end().ends_with("up"))
                .count();
            if up == wanted {
                return Ok(summary);
            }
            if Instant::now() > end {
                return Err(format!("{up} hosts up, not {wanted}:\n{summary}").into());
            }
            self.pause(Duration::from_millis(100))?;
        }
    }

    fn ask(&self, what: &str, port: u16) {
        let answers: Vec<String> = (0..4)
            .map(|_| fetch(port, "/").unwrap_or_else(|e| e.to_string()))
            .collect();
        say(&format!(
            "four times through the {what}: {}",
            answers.join(", ")
        ));
    }

    fn ask_all(&self) {
        self.ask("redirect", self.ports.redirect);
        self.ask("HTTP relay", self.ports.www);
        self.ask("TCP relay", self.ports.tcp);
    }

    pub(super) fn show(&mut self) -> Outcome<()> {
        // One row per table instance and host: the redirect, the HTTP relay, the TCP relay.
        let tables = 3;
        let summary = self.wait_up(tables * SERVERS.len())?;
        say(&format!(
            "all servers are up; relayctl show summary:\n\n{summary}"
        ));
        self.ask_all();

        say("now server two stops");
        self.stop_server(1)?;
        let summary = self.wait_up(tables * (SERVERS.len() - 1))?;
        say(&format!("it left its tables:\n\n{summary}"));
        self.ask_all();

        say("and comes back");
        self.start_server(1)?;
        self.wait_up(tables * SERVERS.len())?;
        self.ask_all();
        self.explain();
        Ok(())
    }

    fn explain(&self) {
        let relayctl = format!(
            "{} -s {}",
            self.programs.join("relayctl").display(),
            self.socket().display()
        );
        let pid = self
            .servers
            .get(1)
            .and_then(Option::as_ref)
            .map_or(0, Child::id);
        let Ports {
            redirect,
            www,
            tcp,
            metrics,
            ..
        } = self.ports;
        println!(
            "
demo: try in another terminal:

    curl http://127.0.0.1:{redirect}/              redirect (forwarded in user space)
    curl -i http://127.0.0.1:{www}/           HTTP relay: see the header X-Balancer
    curl http://127.0.0.1:{tcp}/              TCP relay
    curl http://127.0.0.1:{metrics}/metrics       metrics

    {relayctl} show summary
    {relayctl} show sessions
    {relayctl} host disable 127.0.0.2
    {relayctl} host enable 127.0.0.2
    {relayctl} monitor

    kill {pid}                            stops server two; it returns after {} seconds

demo: Ctrl-C ends it
",
            RETURN.as_secs()
        );
    }

    fn stop_server(&mut self, index: usize) -> Outcome<()> {
        if let Some(mut child) = self.servers.get_mut(index).and_then(Option::take) {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Restarts servers that were stopped by hand, until a signal or the end of the time.
    pub(super) fn watch(&mut self, end: Option<Instant>) -> Outcome<()> {
        let mut gone: Vec<(usize, Instant)> = Vec::new();
        while end.is_none_or(|end| Instant::now() < end) {
            self.pause(Duration::from_millis(200))?;
            for index in 0..self.servers.len() {
                let Some(place) = self.servers.get_mut(index) else {
                    continue;
                };
                if let Some(child) = place.as_mut()
                    && child.try_wait()?.is_some()
                {
                    *place = None;
                    gone.push((index, Instant::now() + RETURN));
                    let name = SERVERS.get(index).map_or("", |server| server.0);
                    say(&format!("server {name} was stopped"));
                }
            }
            let now = Instant::now();
            let due: Vec<usize> = gone.iter().filter(|g| g.1 <= now).map(|g| g.0).collect();
            gone.retain(|g| g.1 > now);
            for index in due {
                self.start_server(index)?;
            }
        }
        Ok(())
    }
}
