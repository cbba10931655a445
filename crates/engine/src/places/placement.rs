//! Which place a step gets. Pure: facts in, a name or the reason for none out.

use std::cmp::Reverse;

/// What is known of a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub name: String,
    /// Steps without tags do not come to a place that has some.
    pub tags: Vec<String>,
    /// Whose it is; everybody's when empty.
    pub teams: Vec<String>,
    /// The resource types it runs without an image from elsewhere.
    pub base_types: Vec<String>,
    /// It did not answer when it was asked last.
    pub is_stalled: bool,
    /// Containers that are there.
    pub n_containers: usize,
    /// Inputs of the step that lie there.
    pub n_inputs: usize,
}

/// What a step asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted<'a> {
    pub team: &'a str,
    pub tags: &'a [String],
    /// A resource type that the place must have itself.
    pub base_type: Option<&'a str>,
}

/// Why there is no place for a step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no worker{} for team `{team}`", of_tags(tags))]
    NoPlace { team: String, tags: Vec<String> },
    #[error("worker `{place}` has no resource type `{base_type}`, but only {}", known.join(", "))]
    NoType { place: String, base_type: String, known: Vec<String> },
    #[error("{} not answer", do_not(names))]
    Stalled { names: Vec<String> },
}

fn of_tags(tags: &[String]) -> String {
    let tags: Vec<String> = tags.iter().map(|tag| format!("`{tag}`")).collect();
    match tags.as_slice() {
        [] => String::new(),
        [tag] => format!(" has tag {tag}"),
        tags => format!(" has tags {}", tags.join(" and ")),
    }
}

fn do_not(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [name] => format!("worker {name} does"),
        names => format!("workers {} do", names.join(" and ")),
    }
}

/// The place for a step: of those that it may use and that have what it wants, the one with most of its inputs, then
/// the one with the fewest containers, then the first by name.
pub fn place(wanted: &Wanted<'_>, places: &[Facts]) -> Result<String, Refusal> {
    let has_own = places.iter().any(|place| place.teams.iter().any(|team| team == wanted.team));
    let is_open = |place: &&Facts| {
        // A team that has places of its own uses no others.
        let of_team = if has_own {
            place.teams.iter().any(|team| team == wanted.team)
        } else {
            place.teams.is_empty()
        };
        let of_tags = place.tags.is_empty() == wanted.tags.is_empty()
            && wanted.tags.iter().all(|tag| place.tags.contains(tag));
        of_team && of_tags
    };
    let open: Vec<&Facts> = places.iter().filter(is_open).collect();
    let Some(first) = open.first() else {
        return Err(Refusal::NoPlace { team: wanted.team.to_owned(), tags: wanted.tags.to_vec() });
    };
    let knows = |place: &&&Facts| {
        wanted.base_type.is_none_or(|wanted| place.base_types.iter().any(|name| name == wanted))
    };
    let knowing: Vec<&&Facts> = open.iter().filter(knows).collect();
    if knowing.is_empty() {
        return Err(Refusal::NoType {
            place: first.name.clone(),
            base_type: wanted.base_type.unwrap_or_default().to_owned(),
            known: first.base_types.clone(),
        });
    }
    let answering = knowing.iter().filter(|place| !place.is_stalled);
    let best = answering
        .min_by_key(|place| (Reverse(place.n_inputs), place.n_containers, place.name.as_str()));
    best.map(|place| place.name.clone()).ok_or_else(|| Refusal::Stalled {
        names: knowing.iter().map(|place| place.name.clone()).collect(),
    })
}

#[cfg(test)]
mod tests;
