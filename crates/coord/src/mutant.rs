//! Deliberate bugs for the tests: each breaks one rule of groups, at the place in the code that keeps it, and the random
//! schedules must notice. Outside tests no mutant exists, and the compiler removes the question.

#[cfg(any(test, feature = "testing"))]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<&'static str>> = const { std::cell::Cell::new(None) };
}

/// Is this bug in the code now?
#[cfg(any(test, feature = "testing"))]
pub fn is(name: &str) -> bool {
    ACTIVE.get() == Some(name)
}

#[cfg(not(any(test, feature = "testing")))]
pub const fn is(_name: &str) -> bool {
    false
}

/// Runs `body` on this thread with a bug in the code.
#[cfg(any(test, feature = "testing"))]
pub fn with<T>(name: &'static str, body: impl FnOnce() -> T) -> T {
    struct Healed;
    impl Drop for Healed {
        fn drop(&mut self) {
            ACTIVE.set(None);
        }
    }
    ACTIVE.set(Some(name));
    let _healed = Healed;
    body()
}
