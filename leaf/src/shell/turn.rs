//! How long a task may keep the event loop to itself.
//!
//! A socket that always has more to read, as a link has while a backlog drains through it, never makes its task wait, and all others
//! wait for that task. So it stands back once its time is up: everybody else who is ready comes first, new arrivals included.

use crate::node::{Nanos, SECOND};

/// How long a task goes on while it has something to do. A turn ends with the piece of work that goes over it.
const TURN: Nanos = SECOND / 10_000;

/// Whether a turn that began at this moment is over.
pub(super) fn is_over(began: Nanos, now: Nanos) -> bool {
    now.saturating_sub(began) >= TURN
}

/// One task's turn.
#[derive(Debug, Default)]
pub(super) struct Turn {
    began: Option<Nanos>,
}

impl Turn {
    /// It has nothing to do: the next thing begins a new turn.
    pub(super) fn end(&mut self) {
        self.began = None;
    }

    /// A piece of work is done; lets the others go first if that was enough.
    pub(super) async fn share(&mut self, now: Nanos) {
        if is_over(*self.began.get_or_insert(now), now) {
            self.began = None;
            // Unlike a task that only wakes itself, this one comes after a look at all sockets.
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// Two tasks that always have something to do, each piece a third of a turn.
    #[test]
    fn busy_tasks_take_turns() {
        let (order, now) = (Rc::new(RefCell::new(String::new())), Rc::new(RefCell::new(0)));
        let busy = |name: char| {
            let (order, now) = (order.clone(), now.clone());
            async move {
                let mut turn = Turn::default();
                for _ in 0..8 {
                    let at = {
                        order.borrow_mut().push(name);
                        *now.borrow_mut() += TURN / 3 + 1;
                        *now.borrow()
                    };
                    turn.share(at).await;
                }
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let tasks = ['a', 'b'].map(|name| tokio::task::spawn_local(busy(name)));
            for task in tasks {
                task.await.expect("it ends");
            }
        });
        // Who yields last may be the next, but everybody has had a turn by then.
        let order = order.borrow();
        assert_eq!((&order[..8], order[8..].matches('a').count()), ("aaaabbbb", 4));
    }

    #[test]
    fn a_rest_begins_a_new_turn() {
        let mut turn = Turn { began: Some(5) };
        turn.end();
        assert_eq!(turn.began, None);
    }
}
