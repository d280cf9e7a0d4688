//! Where in an event a field stands.

use std::fmt;

/// One step of a path, from a value to one that it holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// An object's member.
    Name(String),
    /// An array's item, from 0.
    Item(u32),
}

/// A path such as `payload.age` or `values[0]`: the steps from the top of the event down.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldPath(pub Vec<Step>);

impl FieldPath {
    /// The path to a member at the top of the event.
    #[must_use]
    pub fn top(name: &str) -> Self {
        Self(vec![Step::Name(name.to_owned())])
    }

    /// The path of names joined by dots.
    #[must_use]
    pub fn dotted(names: &str) -> Self {
        Self(names.split('.').map(|name| Step::Name(name.to_owned())).collect())
    }

    /// The path to a member of what this one leads to.
    #[must_use]
    pub fn member(&self, name: &str) -> Self {
        Self([self.0.as_slice(), &[Step::Name(name.to_owned())]].concat())
    }

    /// The path to the items of the array that this one leads to: to the first, as to any other.
    #[must_use]
    pub fn item(&self) -> Self {
        Self([self.0.as_slice(), &[Step::Item(0)]].concat())
    }

    /// The JSON pointer (RFC 6901) of the place.
    #[must_use]
    pub fn pointer(&self) -> String {
        let step = |step: &Step| match step {
            Step::Name(name) => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
            Step::Item(item) => format!("/{item}"),
        };
        self.0.iter().map(step).collect()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Name(name) if at == 0 => f.write_str(name)?,
                Step::Name(name) => write!(f, ".{name}")?,
                Step::Item(item) => write!(f, "[{item}]")?,
            }
        }
        Ok(())
    }
}
