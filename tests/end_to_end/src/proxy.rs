//! A link that can be cut: a UDP forwarder on loopback between devices and a relay.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Forwards datagrams between whoever sends to [`Self::address`] and one target, until dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    silent: AtomicBool,
    stopped: AtomicBool,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
}

const POLL: Duration = Duration::from_millis(20);

impl Proxy {
    /// A forwarder to `target` on a free loopback port.
    pub fn start(target: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port on loopback");
        socket.set_read_timeout(Some(POLL)).expect("a timeout");
        let address = socket.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State {
            silent: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            bytes_up: AtomicU64::new(0),
            bytes_down: AtomicU64::new(0),
        });
        let of_thread = Arc::clone(&state);
        std::thread::spawn(move || forward(&socket, target, &of_thread));
        Self { address, state }
    }

    /// Where devices send to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Drops everything from now on, or forwards again.
    pub fn set_silent(&self, silent: bool) {
        self.state.silent.store(silent, Ordering::SeqCst);
    }

    /// Bytes of datagrams forwarded towards the target so far.
    pub fn bytes_up(&self) -> u64 {
        self.state.bytes_up.load(Ordering::SeqCst)
    }

    /// Bytes of datagrams forwarded from the target so far.
    pub fn bytes_down(&self) -> u64 {
        self.state.bytes_down.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
    }
}

fn forward(socket: &UdpSocket, target: SocketAddr, state: &Arc<State>) {
    let mut clients: HashMap<SocketAddr, UdpSocket> = HashMap::new();
    let mut datagram = vec![0; 65_536];
    while !state.stopped.load(Ordering::SeqCst) {
        let Ok((length, client)) = socket.recv_from(&mut datagram) else {
            continue;
        };
        if state.silent.load(Ordering::SeqCst) {
            continue;
        }
        let towards = clients.entry(client).or_insert_with(|| {
            let towards = UdpSocket::bind("127.0.0.1:0").expect("a free port on loopback");
            towards.set_read_timeout(Some(POLL)).expect("a timeout");
            let back = towards.try_clone().expect("a socket can be cloned");
            let home = socket.try_clone().expect("a socket can be cloned");
            let state = Arc::clone(state);
            std::thread::spawn(move || bring_back(&back, &home, client, &state));
            towards
        });
        state.bytes_up.fetch_add(length as u64, Ordering::SeqCst);
        let _ = towards.send_to(&datagram[..length], target);
    }
}

fn bring_back(back: &UdpSocket, home: &UdpSocket, client: SocketAddr, state: &State) {
    let mut datagram = vec![0; 65_536];
    while !state.stopped.load(Ordering::SeqCst) {
        let Ok(length) = back.recv(&mut datagram) else {
            continue;
        };
        if state.silent.load(Ordering::SeqCst) {
            continue;
        }
        state.bytes_down.fetch_add(length as u64, Ordering::SeqCst);
        let _ = home.send_to(&datagram[..length], client);
    }
}
