//! `--name value` arguments, for the examples that are set from outside. Whatever is wrong ends the program with
//! its usage.

use std::fmt::Display;
use std::str::FromStr;

/// The arguments that have not been taken yet.
pub struct Args {
    usage: &'static str,
    left: Vec<(String, String)>,
}

impl Args {
    /// Those of this process.
    pub fn from_env(usage: &'static str) -> Self {
        let mut this = Self {
            usage,
            left: Vec::new(),
        };
        let mut words = std::env::args().skip(1);
        if std::env::args().any(|word| word == "--help") {
            println!("usage: {usage}");
            std::process::exit(0)
        }
        while let Some(word) = words.next() {
            match (word.strip_prefix("--"), words.next()) {
                (Some(name), Some(value)) => this.left.push((name.to_owned(), value)),
                _ => this.refuse(&format!("{word}: expected --name value")),
            }
        }
        this
    }

    /// The value of `--name`, if it was given; the last one, if several were.
    pub fn optional<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let mut last = None;
        self.left.retain(|(given, value)| {
            let is_other = given != name;
            if !is_other {
                last = Some(value.clone());
            }
            is_other
        });
        last.map(|value| match value.parse() {
            Ok(value) => value,
            Err(error) => self.refuse(&format!("--{name} {value}: {error}")),
        })
    }

    /// The value of `--name`, or what it is by default.
    pub fn get<T: FromStr<Err: Display>>(&mut self, name: &str, default: T) -> T {
        self.optional(name).unwrap_or(default)
    }

    /// To be called when every known name was taken.
    pub fn finish(self) {
        if let Some((name, _)) = self.left.first() {
            self.refuse(&format!("--{name} is unknown"));
        }
    }

    /// Ends the program.
    pub fn refuse(&self, complaint: &str) -> ! {
        eprintln!("{complaint}\nusage: {}", self.usage);
        std::process::exit(2)
    }
}
