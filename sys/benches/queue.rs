//! First sketch
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::Instant;
use tidegate_sys::mem::{Task, queue};

fn pin(cpu: usize) {
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

const N: u64 = 4_000_000;

fn ours(kind: u32, window: usize, pauses: usize) -> (f64, usize) {
    let (p, mut c) = queue::new(None);
    let sum = Arc::new(AtomicU64::new(0));
    let t0 = Instant::now();
    let mut maxlen = 0;
    std::thread::scope(|s| {
        s.spawn(move || {
            pin(0);
            let (mut x, mut y) = (1u64, 2u64);
            let many: Vec<Arc<AtomicU64>> = (0..1024).map(|_| Arc::new(AtomicU64::new(0))).collect();
            let mut spare: Vec<Arc<AtomicU64>> = Vec::new();
            if kind == 2 { for i in 0..N { spare.push(many[(i & 1023) as usize].clone()); } }
            for i in 0..N {
                x = x.wrapping_add(3);
                y ^= x;
                match kind {
                    0 => { // cloned
                        let a = sum.clone();
                        let _ = p.push(Task::new(move || { a.fetch_add(x ^ y, Relaxed); })).unwrap();
                    }
                    1 => { // static-like: raw pointer word + two words
                        let a: &'static AtomicU64 = unsafe { &*Arc::as_ptr(&sum) };
                        let _ = p.push(Task::new(move || { a.store(a.load(Relaxed) + (x ^ y), Relaxed); })).unwrap();
                    }
                    _ => {
                        let a = spare.pop().unwrap();
                        let _ = p.push(Task::new(move || { std::hint::black_box(x ^ y); std::mem::forget(a); })).unwrap();
                    }
                }
                if window != 0 && i & 63 == 0 {
                    while p.len() > window { std::hint::spin_loop(); }
                }
            }
        });
        pin(1);
        let mut n = 0;
        while n < N {
            match c.pop() {
                Some(t) => { t.run(); n += 1; }
                None => { maxlen += 1; for _ in 0..pauses { std::hint::spin_loop(); } }
            }
        }
    });
    (N as f64 / t0.elapsed().as_secs_f64() / 1e6, maxlen)
}


fn alone() {
    let (p, mut c) = queue::new(None);
    let a: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
    for round in 0..3 {
        let t0 = Instant::now();
        for i in 0..1_000_000u64 { let _ = p.push(Task::new(move || { a.store(a.load(Relaxed) + i, Relaxed); })).unwrap(); }
        let t1 = Instant::now();
        for _ in 0..1_000_000u64 { c.pop().unwrap().run(); }
        let t2 = Instant::now();
        for _ in 0..10_000 {
        for i in 0..100u64 { let _ = p.push(Task::new(move || { a.store(a.load(Relaxed) + i, Relaxed); })).unwrap(); }
        for _ in 0..100u64 { c.pop().unwrap().run(); }
        }
        let t3 = Instant::now();
        println!("alone {round}: push {:?}/M pop {:?}/M  local pair {:?}/M", t1 - t0, t2 - t1, t3 - t2);
    }
    // other thread pops, phases do not overlap
    for batch in [100, 1000, 4000] {
        let turn = AtomicU64::new(0);
        let (mut tp, mut tc) = (0, 0);
        std::thread::scope(|s| {
            let t = &turn; let p = &p;
            let h = s.spawn(move || { pin(0); let mut tp = 0; for r in 0..2000u64 { while t.load(Acquire) != r * 2 { std::hint::spin_loop(); }
                let t0 = Instant::now();
                for i in 0..batch { let _ = p.push(Task::new(move || { a.store(a.load(Relaxed) + i, Relaxed); })).unwrap(); }
                tp += t0.elapsed().as_nanos();
                t.store(r * 2 + 1, Release); } tp });
            pin(1);
            for r in 0..2000u64 { while t.load(Acquire) != r * 2 + 1 { std::hint::spin_loop(); }
                let t0 = Instant::now();
                for _ in 0..batch { c.pop().unwrap().run(); }
                tc += t0.elapsed().as_nanos();
                t.store(r * 2 + 2, Release); }
            tp = h.join().unwrap();
        });
        println!("phases of {batch}: push {:.1} ns pop {:.1} ns", tp as f64 / 2000.0 / batch as f64, tc as f64 / 2000.0 / batch as f64);
    }
}
fn main() {
    alone();

    for pauses in [1, 8, 20, 50, 100, 300] {
    println!("pauses {pauses}");
    for _ in 0..3 {
        for kind in 0..3 {
            for window in [0, 4096] {
                let (r, l) = ours(kind, window, pauses);
                print!("k{kind} w{window}: {r:.1} M/s (empty {l})   ");
            }
        }
        println!();
    }
    }
}
