//! [`Visit`]: one handler on the stack, from when its node lends it until it is back. Every call of a handler is one, except the
//! steps of an operation from handler to handler (`ops`), which have their caller's context to give back as well.

use super::super::core::{Core, Handler, attention};
use super::super::node::{Loan, Node};

/// A handler on the stack. Its node has lent it as long as this lives, which is what makes a second entry impossible.
pub(crate) struct Visit<'a> {
    core: &'a Core,
    pub(super) node: &'a Node<dyn Handler>,
    /// `Some` until the visit ends.
    handler: Option<Loan<'a, dyn Handler>>,
}

impl<'a> Visit<'a> {
    /// `None` if the node's handler is not in place.
    #[inline(always)]
    pub(crate) fn begin(core: &'a Core, node: &'a Node<dyn Handler>) -> Option<Self> {
        let handler = Some(node.lend()?);
        Some(Self {
            core,
            node,
            handler,
        })
    }

    /// Visits a handler that comes into its node now.
    pub(crate) fn first(
        core: &'a Core,
        node: &'a Node<dyn Handler>,
        handler: Box<dyn Handler>,
    ) -> Self {
        node.put(handler);
        let handler = node.lend();
        Self {
            core,
            node,
            handler,
        }
    }

    #[inline(always)]
    pub(crate) fn handler(&mut self) -> &mut dyn Handler {
        match &mut self.handler {
            Some(handler) => &mut **handler,
            None => unreachable!("a visit holds its handler until it ends"),
        }
    }

    /// Puts the handler back into its node.
    #[inline(always)]
    pub(crate) fn put_back(mut self) -> &'a Node<dyn Handler> {
        drop(self.handler.take());
        self.node
    }

    /// Ends the visit of a handler that leaves its node.
    pub(crate) fn into_handler(self) -> Option<Box<dyn Handler>> {
        self.put_back().take()
    }
}

/// With a handler, only reached by unwinding: the catch boundary buries it and its node.
impl Drop for Visit<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // Inlined, so that the visit itself never needs an address: passed on from here by `&mut self` it lived in memory and
        // was copied there three times per hop.
        if self.handler.is_some() {
            self.node.lose();
            self.core.attend(attention::LOST);
        }
    }
}
