//! Versions as image tags write them, and constraints on them.
//!
//! Tags are looser than semantic versions: `1`, `1.2` and `v1.2.3` count too. Constraints are written as
//! `>= 1.2 < 3.0.0 || ~4.1`: alternatives separated by `||`, each a list of conditions that must all hold.

use semver::{BuildMetadata, Prerelease, Version};

/// Text that is no version constraint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a version constraint: {reason}")]
pub struct NotAConstraint {
    text: String,
    reason: String,
}

/// A version with the text it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagVersion {
    pub text: String,
    pub version: Version,
}

impl TagVersion {
    /// Reads `[v]1[.2[.3]][-pre][+build]`.
    pub fn parse(text: &str) -> Option<Self> {
        let (version, _) = parse_loose(text)?;
        Some(Self { text: text.to_owned(), version })
    }

    /// How many of its numbers are written out: `1.2` is less specific than `1.2.0`.
    pub fn dots(&self) -> usize {
        self.text.matches('.').count()
    }
}

/// The version, and how many of its three numbers were there.
fn parse_loose(text: &str) -> Option<(Version, usize)> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (rest, build) = text.split_once('+').map_or((text, ""), |(rest, build)| (rest, build));
    let (numbers, pre) = rest.split_once('-').map_or((rest, ""), |(numbers, pre)| (numbers, pre));
    if rest.ends_with('-') || text.ends_with('+') {
        return None;
    }
    let mut parts = [0_u64; 3];
    let mut count = 0;
    for number in numbers.split('.') {
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let leading_zero = number.len() > 1 && number.starts_with('0');
        if !digits || leading_zero || count == 3 {
            return None;
        }
        parts[count] = number.parse().ok()?;
        count += 1;
    }
    let version = Version {
        major: parts[0],
        minor: parts[1],
        patch: parts[2],
        pre: Prerelease::new(pre).ok()?,
        build: BuildMetadata::new(build).ok()?,
    };
    Some((version, count))
}

/// Alternatives of conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    alternatives: Vec<Vec<Condition>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    operator: Operator,
    version: Version,
    /// How many numbers are given: `1.x` is one.
    given: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    /// The numbers given must agree, the last may be higher.
    Tilde,
    /// The first number that is not zero must agree.
    Caret,
}

impl Constraint {
    pub fn parse(text: &str) -> Result<Self, NotAConstraint> {
        let alternatives = text.split("||").map(|part| conditions(part.trim(), text));
        Ok(Self { alternatives: alternatives.collect::<Result<_, _>>()? })
    }

    /// A pre-release matches only alternatives that name one themselves.
    pub fn allows(&self, version: &Version) -> bool {
        self.alternatives
            .iter()
            .any(|conditions| conditions.iter().all(|condition| condition.holds(version)))
    }
}

fn wrong(whole: &str, reason: String) -> NotAConstraint {
    NotAConstraint { text: whole.to_owned(), reason }
}

fn conditions(text: &str, whole: &str) -> Result<Vec<Condition>, NotAConstraint> {
    // 1.2 - 1.4 is a range with both ends.
    if let Some((from, to)) = text.split_once(" - ") {
        let from = condition(Operator::GreaterOrEqual, from.trim(), whole)?;
        let to = condition(Operator::LessOrEqual, to.trim(), whole)?;
        return Ok(vec![from, to]);
    }
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !"=!<>~^".contains(c)).unwrap_or(rest.len());
        let (sign, after) = rest.split_at(end);
        let after = after.trim_start();
        let end = after
            .find(|c: char| c.is_whitespace() || c == ',' || "=!<>~^".contains(c))
            .unwrap_or(after.len());
        let (version, after) = after.split_at(end);
        let operator = match sign {
            "" | "=" | "==" => Operator::Equal,
            "!=" => Operator::NotEqual,
            ">" => Operator::Greater,
            ">=" | "=>" => Operator::GreaterOrEqual,
            "<" => Operator::Less,
            "<=" | "=<" => Operator::LessOrEqual,
            "~" | "~>" => Operator::Tilde,
            "^" => Operator::Caret,
            _ => return Err(wrong(whole, format!("{sign:?} has no meaning"))),
        };
        found.push(condition(operator, version, whole)?);
        rest = after.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
    }
    if found.is_empty() {
        return Err(wrong(whole, "a part of it is empty".to_owned()));
    }
    Ok(found)
}

fn condition(operator: Operator, text: &str, whole: &str) -> Result<Condition, NotAConstraint> {
    let wild = |part: &str| matches!(part, "x" | "X" | "*");
    let bare = text.strip_prefix('v').unwrap_or(text);
    if wild(bare) {
        return Ok(Condition { operator, version: Version::new(0, 0, 0), given: 0 });
    }
    let (numbers, _) = bare.split_once(['-', '+']).unwrap_or((bare, ""));
    let known = numbers.split('.').take_while(|part| !wild(part)).count();
    let is_wild = known < numbers.split('.').count();
    let known_text: Vec<&str> = numbers.split('.').take(known).collect();
    let joined = known_text.join(".");
    let parsed = parse_loose(if is_wild { &joined } else { bare });
    let Some((version, given)) = parsed else {
        return Err(wrong(whole, format!("{text:?} is not a version")));
    };
    Ok(Condition { operator, version, given })
}

impl Condition {
    fn holds(&self, version: &Version) -> bool {
        if !version.pre.is_empty() && self.version.pre.is_empty() {
            return false;
        }
        // The first version above everything the given numbers begin.
        let above = |position: usize| {
            let mut numbers = [self.version.major, self.version.minor, self.version.patch];
            if position == 0 {
                return None;
            }
            numbers[position - 1] = numbers[position - 1].saturating_add(1);
            numbers[position..].fill(0);
            Some(Version::new(numbers[0], numbers[1], numbers[2]))
        };
        let below = |limit: Option<Version>| limit.is_none_or(|limit| *version < limit);
        let order = version.cmp_precedence(&self.version);
        match self.operator {
            Operator::Equal if self.given < 3 => order.is_ge() && below(above(self.given)),
            Operator::NotEqual if self.given < 3 => !(order.is_ge() && below(above(self.given))),
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Greater if self.given < 3 => {
                above(self.given).is_some_and(|above| *version >= above)
            }
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual if self.given < 3 => below(above(self.given)),
            Operator::LessOrEqual => order.is_le(),
            Operator::Tilde => order.is_ge() && below(above(self.given.min(2))),
            Operator::Caret => {
                let numbers = [self.version.major, self.version.minor, self.version.patch];
                let first = numbers.iter().take(self.given).position(|number| *number != 0);
                order.is_ge() && below(above(first.map_or(self.given, |first| first + 1)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
