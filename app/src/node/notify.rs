//! Tells systemd how a node is, where `Type=notify` asks for it: `sd_notify(3)`'s protocol, a datagram to `$NOTIFY_SOCKET`.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Who is told; nobody where no supervisor asks.
#[derive(Default)]
pub(super) struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// Tells whom the environment names.
    pub(super) fn from_environment() -> Self {
        Self(std::env::var_os("NOTIFY_SOCKET").and_then(|name| connect(&name)))
    }

    /// The node runs: CometBFT has found its application.
    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    /// The node has been asked to stop.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// One line for `systemctl status`.
    pub(super) fn status(&self, line: &str) {
        self.tell(&format!("STATUS={line}"));
    }

    fn tell(&self, what: &str) {
        if let Some((socket, to)) = &self.0 {
            let _ = socket.send_to_addr(what.as_bytes(), to); // A supervisor that is gone is not our business.
        }
    }
}

fn connect(name: &OsStr) -> Option<(UnixDatagram, SocketAddr)> {
    let to = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        _ => SocketAddr::from_pathname(name),
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some((socket, to.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_hears_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let notify = Notify(connect(path.as_os_str()));
        notify.ready();
        notify.status("height 7");
        let mut told = [0; 64];
        let mut heard = || {
            let length = listener.recv(&mut told).unwrap();
            String::from_utf8_lossy(&told[..length]).into_owned()
        };
        assert_eq!([heard(), heard()], ["READY=1", "STATUS=height 7"]);
        // Nobody asks, or whoever did has gone.
        Notify::default().ready();
        drop(listener);
        notify.stopping();
    }
}
