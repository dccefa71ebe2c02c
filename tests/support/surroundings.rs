//! Kernels that lack something.

/// Runs code in a thread, and in the processes it starts, for which the kernel has no netfilter: what it answers then is
/// what one without nf_tables answers to everybody.
#[cfg(target_os = "linux")]
pub fn without_netfilter<T: Send>(code: impl FnOnce() -> T + Send) -> T {
    use nix::libc;
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule,
    };
    let is = |argument, value: i32| {
        let value = u64::from(value.unsigned_abs());
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value).unwrap()
    };
    let netfilter = vec![is(0, libc::AF_NETLINK), is(2, libc::NETLINK_NETFILTER)];
    let rule = SeccompRule::new(netfilter).unwrap();
    let filter = SeccompFilter::new(
        [(libc::SYS_socket, vec![rule])].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPROTONOSUPPORT.unsigned_abs()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    let run = || {
        seccompiler::apply_filter(&program).unwrap();
        code()
    };
    std::thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Such kernels exist on Linux only.
#[cfg(not(target_os = "linux"))]
pub fn without_netfilter<T: Send>(_code: impl FnOnce() -> T + Send) -> T {
    panic!("no netfilter here")
}
