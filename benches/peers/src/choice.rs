//! Arguments that several of the programs here take.

use std::time::Duration;

use crate::args::Args;

/// Those of `all` that the list `--option` names, in the order of `all`; all of them if it was not given. Names that
/// there are not end the program.
pub fn chosen<T>(
    args: &mut Args,
    option: &str,
    all: impl Iterator<Item = &'static T> + Clone,
    name: impl Fn(&T) -> &'static str,
) -> Vec<&'static T> {
    let Some(list) = args.optional::<String>(option) else {
        return all.collect();
    };
    let wanted: Vec<&str> = list.split(',').collect();
    for word in &wanted {
        if !all.clone().any(|item| name(item) == *word) {
            let known: Vec<_> = all.map(&name).collect();
            args.refuse(&format!(
                "--{option} {word}: there are {}",
                known.join(", ")
            ));
        }
    }
    all.filter(|item| wanted.contains(&name(item))).collect()
}

/// The time that `--name` gives in seconds.
pub fn seconds(args: &mut Args, name: &str, default: f64) -> Duration {
    let value = args.get(name, default);
    match Duration::try_from_secs_f64(value) {
        Ok(time) => time,
        Err(error) => args.refuse(&format!("--{name} {value}: {error}")),
    }
}
