//! `cargo run -p simulation -- --seeds N`: simulates seeds; a failing one is printed with the command that replays it.
#![allow(clippy::print_stdout, reason = "it talks to a person")]

use std::ops::{ControlFlow, Range};
use std::process::ExitCode;

use clap::Parser;
use simulation::{Outcome, Tally, simulate, simulate_all};

/// Simulates the whole pipeline under seeds.
#[derive(Debug, Parser)]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Only this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Shows everything that happens.
    #[arg(long)]
    trace: bool,
    /// Plants one bug after the other and shows the first seed that finds it; those of the engine need the feature
    /// `planted-bugs`.
    #[arg(long)]
    planted: bool,
    /// Only this bug.
    #[arg(long)]
    bug: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let seeds = args.seed.map_or(args.from..args.from + args.seeds, |seed| seed..seed + 1);
    if args.planted || args.bug.is_some() {
        return planted(&args, seeds);
    }
    let (mut tally, mut failed, mut actions) = (Tally::new(), 0, 0);
    simulate_all(
        seeds.clone(),
        |seed| simulate(seed, args.trace),
        |outcome| {
            let Outcome { seed, broken, .. } = &outcome;
            outcome.lines.iter().for_each(|line| println!("{line}"));
            actions += outcome.actions;
            outcome.tally.iter().for_each(|(what, times)| *tally.entry(what.clone()).or_default() += times);
            if args.seed.is_some() {
                println!("seed {seed}: trace {:016x}, {} actions", outcome.trace, outcome.actions);
            }
            if !broken.is_empty() {
                failed += 1;
                println!("seed {seed} fails:");
                broken.iter().take(12).for_each(|what| println!("  {what}"));
                println!("  again: cargo run -p simulation -- --seed {seed} --trace");
            }
            ControlFlow::Continue(())
        },
    );
    println!("{} seeds, {actions} actions, {failed} failed", seeds.end - seeds.start);
    tally.iter().for_each(|(what, times)| println!("  {what:<40} {times:>8}"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn planted(args: &Args, seeds: Range<u64>) -> ExitCode {
    let mut missed = 0;
    println!("{:<22} {:>6}  {:<70} found by", "bug", "seed", "what it does");
    for bug in simulation::bugs().iter().filter(|b| args.bug.as_deref().is_none_or(|name| name == b.name)) {
        match bug.found(seeds.clone(), args.trace) {
            Some(outcome) => {
                outcome.lines.iter().for_each(|line| println!("{line}"));
                let by: String = outcome.broken.first().map(|b| b.chars().take(100).collect()).unwrap_or_default();
                println!("{:<22} {:>6}  {:<70} {by}", bug.name, outcome.seed, bug.what);
            }
            None => {
                missed += 1;
                println!("{:<22} {:>6}  {:<70} not found", bug.name, "-", bug.what);
            }
        }
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
