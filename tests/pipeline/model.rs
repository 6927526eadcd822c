//! Random pipelines against a model: what happens in them is compared, line by line, with a recursive simulation of
//! "depth first, in program order" that knows nothing of slots, lists and masks. Each case prints its seed when it
//! fails.

use std::collections::VecDeque;

use crate::actors::{
    ACTIONS_MAX, Act, Callback, Ev, HANDLERS_MAX, NOTHING, Outcome, Place, Random, acts, first,
    reality,
};

/// Cases per run. A hundred thousand were tried when the model was made.
const CASES: u64 = 2_000;

const HEAD: usize = 0;
const TAIL: usize = 1;

struct Node {
    who: u32,
    prev: usize,
    next: usize,
    is_linked: bool,
    is_told: bool,
    is_busy: bool,
    /// Taken out while on the stack, and what stands in its place.
    leaves: Option<Option<usize>>,
    asked: bool,
    resumes: u32,
    is_draining: bool,
}

#[derive(Clone, Copy)]
enum Emission {
    Read(usize, Ev),
    Event(usize, Ev),
    Error(usize, Ev),
    ErrorAt(usize, Ev),
    Added(usize),
    After(usize, Ev),
    Resume(usize),
}

#[derive(Clone, Copy)]
enum Op {
    Write(Ev),
    Flush,
}

struct Model {
    seed: u64,
    nodes: Vec<Node>,
    /// All nodes there ever were, head to tail.
    order: Vec<usize>,
    /// Emissions of the callback that runs.
    list: Vec<Emission>,
    /// What follows them.
    tail: Vec<Emission>,
    roots: VecDeque<Ev>,
    waiting: Vec<(usize, Op)>,
    actions: u32,
    handlers: u32,
    out: Outcome,
}

impl Model {
    fn new(seed: u64) -> Self {
        let end = || Node {
            who: u32::MAX,
            prev: HEAD,
            next: TAIL,
            is_linked: true,
            is_told: true,
            is_busy: false,
            leaves: None,
            asked: false,
            resumes: 0,
            is_draining: false,
        };
        Self {
            seed,
            nodes: vec![end(), end()],
            order: vec![HEAD, TAIL],
            list: Vec::new(),
            tail: Vec::new(),
            roots: VecDeque::new(),
            waiting: Vec::new(),
            actions: ACTIONS_MAX,
            handlers: 0,
            out: Outcome {
                log: Vec::new(),
                inbound: Vec::new(),
                outbound: Vec::new(),
            },
        }
    }

    fn row(&self) -> Vec<usize> {
        let mut row = Vec::new();
        let mut at = self.nodes[HEAD].next;
        while at != TAIL {
            row.push(at);
            at = self.nodes[at].next;
        }
        row
    }

    // One callback, with what it does; emissions are only noted.
    fn play(&mut self, at: usize, callback: Callback, ev: Ev) -> bool {
        let who = self.nodes[at].who;
        self.out.log.push(format!("{who} {callback:?} {ev}"));
        let mut fails = false;
        for act in acts(self.seed, who, callback, ev) {
            if self.actions >= ACTIONS_MAX && !matches!(act, Act::Pass) {
                continue;
            }
            self.actions += 1;
            match act {
                Act::Pass => match callback {
                    Callback::Read => self.list.push(Emission::Read(at, ev)),
                    Callback::Event => self.list.push(Emission::Event(at, ev)),
                    Callback::Error => self.list.push(Emission::Error(at, ev)),
                    Callback::Write => self.op(at, Op::Write(ev)),
                    Callback::Flush => self.op(at, Op::Flush),
                    _ => {}
                },
                Act::Fire(ev) => self.list.push(Emission::Read(at, ev)),
                Act::FireEvent(ev) => self.list.push(Emission::Event(at, ev)),
                Act::FireError(ev) => self.list.push(Emission::Error(at, ev)),
                Act::FireHead(ev) => self.list.push(Emission::Read(HEAD, ev)),
                Act::FireRoot(ev) => self.roots.push_back(ev),
                Act::Write(ev) => self.op(at, Op::Write(ev)),
                Act::Flush => self.op(at, Op::Flush),
                Act::ChannelWrite(ev) => self.op(TAIL, Op::Write(ev)),
                Act::ChannelFlush => self.op(TAIL, Op::Flush),
                Act::After(ev) => self.tail.push(Emission::After(at, ev)),
                Act::Resume => {
                    let is_there = self.nodes[at].is_linked || self.nodes[at].is_busy;
                    if is_there && !std::mem::replace(&mut self.nodes[at].asked, true) {
                        self.tail.push(Emission::Resume(at));
                    }
                }
                Act::Fail => fails = true,
                Act::Add(_)
                | Act::Remove(_)
                | Act::RemoveSelf
                | Act::Replace(_)
                | Act::ReplaceSelf => {
                    self.edit(at, act);
                }
            }
        }
        fails
    }

    // An inbound callback, and then, depth first, all that follows from it.
    fn visit(&mut self, at: usize, callback: Callback, ev: Ev) {
        self.nodes[at].is_busy = true;
        let fails = self.play(at, callback, ev);
        self.nodes[at].is_busy = false;
        if callback == Callback::Resume && self.list.is_empty() {
            // It has said nothing: asking again gets it nowhere, unless somebody reads, which nobody does here.
            self.tail
                .retain(|event| !matches!(event, Emission::Resume(node) if *node == at));
        }
        if fails && callback != Callback::Error {
            self.tail.insert(0, Emission::ErrorAt(at, ev));
        }
        self.leave(at);
        self.follow();
    }

    fn follow(&mut self) {
        let list = std::mem::take(&mut self.list);
        let tail = std::mem::take(&mut self.tail);
        for emission in list.into_iter().chain(tail) {
            self.deliver(emission);
        }
    }

    fn deliver(&mut self, emission: Emission) {
        match emission {
            Emission::Read(from, ev) => match self.next(from) {
                TAIL => self.out.inbound.push(ev.id),
                at => self.visit(at, Callback::Read, ev),
            },
            Emission::Event(from, ev) => match self.next(from) {
                TAIL => {}
                at => self.visit(at, Callback::Event, ev),
            },
            Emission::Error(from, ev) => match self.next(from) {
                TAIL => {}
                at => self.visit(at, Callback::Error, ev),
            },
            Emission::ErrorAt(at, ev) if self.nodes[at].is_linked => {
                self.ensure_added(at);
                self.visit(at, Callback::Error, ev);
            }
            Emission::ErrorAt(at, ev) => self.deliver(Emission::Error(at, ev)),
            Emission::Added(at) => {
                self.ensure_added(at);
                self.follow();
            }
            Emission::After(at, ev) if self.nodes[at].is_linked => {
                self.visit(at, Callback::After, ev);
            }
            Emission::After(..) => {}
            Emission::Resume(at) => {
                while let Some(ev) = self.roots.pop_front() {
                    self.deliver(Emission::Read(HEAD, ev));
                }
                if self.nodes[at].is_linked {
                    self.nodes[at].asked = false;
                    self.nodes[at].resumes += 1;
                    let ev = Ev {
                        id: self.nodes[at].resumes,
                        fuel: 2,
                    };
                    self.visit(at, Callback::Resume, ev);
                }
            }
        }
    }

    // The next handler, which hears first that it was added, if it has not yet.
    fn next(&mut self, from: usize) -> usize {
        let mut at = self.nodes[from].next;
        while !self.nodes[at].is_linked {
            at = self.nodes[at].next;
        }
        self.ensure_added(at);
        at
    }

    // ---- outbound

    // Toward the head, over all that ever stood there: those who left only count while others wait for them.
    fn op(&mut self, from: usize, op: Op) {
        let before = &self.order[..self.place(from)];
        let stops = |at: &usize| {
            self.nodes[*at].is_linked || self.waiting.iter().any(|(waited, _)| waited == at)
        };
        let at = before
            .iter()
            .copied()
            .rfind(stops)
            .expect("the head stops everything");
        if at == HEAD {
            if let Op::Write(ev) = op {
                self.out.outbound.push(ev.id);
            }
        } else if self.nodes[at].is_busy || self.waiting.iter().any(|(waited, _)| *waited == at) {
            self.waiting.push((at, op));
        } else {
            self.enter(at, op);
        }
    }

    fn enter(&mut self, at: usize, op: Op) {
        self.ensure_added(at);
        self.nodes[at].is_busy = true;
        match op {
            // An error here fails a promise that nobody looks at.
            Op::Write(ev) => {
                self.play(at, Callback::Write, ev);
            }
            Op::Flush => {
                self.play(at, Callback::Flush, Ev { id: 0, fuel: 0 });
            }
        }
        self.nodes[at].is_busy = false;
        self.leave(at);
    }

    // A handler has left the stack.
    fn leave(&mut self, at: usize) {
        if let Some(heir) = self.nodes[at].leaves.take() {
            if let Some(heir) = heir {
                self.ensure_added(heir);
            }
            self.farewell(at);
        }
        if std::mem::replace(&mut self.nodes[at].is_draining, true) {
            return;
        }
        while let Some(position) = self.waiting.iter().position(|(waited, _)| *waited == at) {
            let (_, op) = self.waiting.remove(position);
            if self.nodes[at].is_linked {
                self.enter(at, op);
            } else {
                self.op(at, op);
            }
        }
        self.nodes[at].is_draining = false;
    }

    // ---- edits

    fn edit(&mut self, me: usize, act: Act) {
        let row = self.row();
        let at = |at: usize| row.get(at % row.len().max(1)).copied();
        match act {
            Act::Add(place) if row.len() < HANDLERS_MAX => {
                let prev = match place {
                    Place::First => HEAD,
                    Place::Last => self.nodes[TAIL].prev,
                    Place::Before(i) => at(i).map_or(HEAD, |base| self.nodes[base].prev),
                    Place::After(i) => at(i).unwrap_or(HEAD),
                };
                let new = self.insert(prev);
                self.announce(new);
            }
            Act::Remove(i) => {
                if let Some(at) = at(i) {
                    self.remove(at);
                }
            }
            Act::RemoveSelf if self.nodes[me].is_linked => self.remove(me),
            Act::Replace(i) => {
                if let Some(at) = at(i) {
                    self.replace(at);
                }
            }
            Act::ReplaceSelf if self.nodes[me].is_linked => self.replace(me),
            _ => {}
        }
    }

    fn insert(&mut self, prev: usize) -> usize {
        let new = self.nodes.len();
        let next = self.nodes[prev].next;
        self.nodes.push(Node {
            who: self.handlers,
            prev,
            next,
            is_linked: true,
            is_told: false,
            is_busy: false,
            leaves: None,
            asked: false,
            resumes: 0,
            is_draining: false,
        });
        self.handlers += 1;
        self.order.insert(self.place(next), new);
        self.nodes[prev].next = new;
        self.nodes[next].prev = new;
        new
    }

    fn place(&self, node: usize) -> usize {
        self.order
            .iter()
            .position(|at| *at == node)
            .expect("every node has its place")
    }

    fn announce(&mut self, new: usize) {
        if self.order[..self.place(new)]
            .iter()
            .any(|at| self.nodes[*at].is_busy)
        {
            self.list.push(Emission::Added(new));
        } else {
            self.ensure_added(new);
        }
    }

    fn ensure_added(&mut self, at: usize) {
        if at > TAIL && self.nodes[at].is_linked && !self.nodes[at].is_told {
            self.nodes[at].is_told = true;
            self.nodes[at].is_busy = true;
            self.play(at, Callback::Added, NOTHING);
            self.nodes[at].is_busy = false;
            self.leave(at);
        }
    }

    fn unlink(&mut self, at: usize) {
        let (prev, next) = (self.nodes[at].prev, self.nodes[at].next);
        self.nodes[prev].next = next;
        self.nodes[next].prev = prev;
        self.nodes[at].is_linked = false;
    }

    fn remove(&mut self, at: usize) {
        self.unlink(at);
        if self.nodes[at].is_busy {
            self.nodes[at].leaves = Some(None);
        } else {
            self.farewell(at);
        }
    }

    fn replace(&mut self, old: usize) {
        let new = self.insert(old);
        // What waits at the old one goes on to the new one, which so stands before it.
        self.order.retain(|at| *at != new);
        self.order.insert(self.place(old), new);
        self.unlink(old);
        self.nodes[old].prev = new;
        self.nodes[old].next = new;
        if self.nodes[old].is_busy {
            self.nodes[old].leaves = Some(Some(new));
            self.announce(new);
        } else {
            self.ensure_added(new);
            self.farewell(old);
        }
    }

    fn farewell(&mut self, at: usize) {
        if self.nodes[at].is_told {
            self.play(at, Callback::Removed, NOTHING);
        }
    }
}

fn model(seed: u64, handlers: u32, rounds: u32) -> Outcome {
    let mut model = Model::new(seed);
    for _ in 0..handlers {
        let last = model.nodes[TAIL].prev;
        let new = model.insert(last);
        model.nodes[new].is_told = true;
    }
    for round in 0..rounds {
        model.actions = 0;
        model.deliver(Emission::Read(HEAD, first(round)));
        while let Some(ev) = model.roots.pop_front() {
            model.deliver(Emission::Read(HEAD, ev));
        }
    }
    model.actions = ACTIONS_MAX;
    model.op(TAIL, Op::Flush);
    model.out
}

/// Random trees of emissions, operations, edits, errors, `after` and `resume` happen as the model says.
///
/// Rules: 6.1, 6.2, 6.3, 6.5, 6.6, 6.7, 6.8, 6.10, B1, B3, B5, B6, B9, B10, B11, B13
#[test]
fn random_pipelines_do_what_the_model_says() {
    let mut lines = 0;
    for seed in 1..=CASES {
        let mut random = Random::new(seed);
        let handlers = 1 + random.below(HANDLERS_MAX as u64) as u32;
        let rounds = 1 + random.below(3) as u32;
        let expected = model(seed, handlers, rounds);
        let happened = reality(seed, handlers, rounds);
        lines += happened.log.len();
        if expected == happened {
            continue;
        }
        let apart = expected
            .log
            .iter()
            .zip(&happened.log)
            .position(|(a, b)| a != b);
        let at = apart.unwrap_or(expected.log.len().min(happened.log.len()));
        let shown = |log: &[String]| log[at.saturating_sub(12)..log.len().min(at + 6)].join(", ");
        panic!(
            "seed {seed}: {handlers} handlers, {rounds} rounds; they part at line {at}\n  model:   {}\n  reality: {}\n  inbound {:?} / {:?}\n  outbound {:?} / {:?}",
            shown(&expected.log),
            shown(&happened.log),
            expected.inbound,
            happened.inbound,
            expected.outbound,
            happened.outbound,
        );
    }
    // The cases are worth something only if much happens in them.
    assert!(
        lines as u64 > CASES * 20,
        "{lines} callbacks in {CASES} cases"
    );
}
