//! Names and numbers as they stand in a line.
//!
//! A name is said where it is defined, never taken from an identifier: renaming a type, a variant or a
//! field changes no trace.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use stallbox_faultplan::{FaultKind, Point};
use stallbox_smmu::{EventType, PageResponseCode, Response};

/// Values with a name each.
pub trait Named: Copy + 'static {
    /// All of them.
    const ALL: &'static [Self];

    /// The name in a trace.
    fn name(self) -> &'static str;
}

/// One of several values, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<T>(pub T);

impl<T: Named> Serialize for Name<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<T: Named> JsonSchema for Name<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = T::ALL.iter().map(|it| it.name()).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}

/// The enumerations of other crates that events have. Their owners say the names.
macro_rules! named {
    ($($owned:ty),* $(,)?) => { $(
        impl Named for $owned {
            const ALL: &'static [Self] = &<$owned>::ALL;

            fn name(self) -> &'static str {
                self.name()
            }
        }
    )* };
}

named!(EventType, FaultKind, PageResponseCode, Point, Response);

/// An enumeration of which each value has its name said: `Tlb = "tlb"`.
macro_rules! names {
    ($(#[$outer:meta])* pub enum $enum:ident { $($(#[$inner:meta])* $value:ident = $name:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $enum { $($(#[$inner])* $value,)* }

        impl $enum {
            /// All of them.
            pub const ALL: [$enum; [$($name),*].len()] = [$($enum::$value),*];

            /// The name in a trace.
            pub const fn name(self) -> &'static str {
                match self { $($enum::$value => $name,)* }
            }
        }

        impl $crate::name::Named for $enum {
            const ALL: &'static [Self] = &$enum::ALL;

            fn name(self) -> &'static str {
                self.name()
            }
        }

        impl serde::Serialize for $enum {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl schemars::JsonSchema for $enum {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($enum).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                <$crate::name::Name<$enum> as schemars::JsonSchema>::json_schema(generator)
            }
        }
    };
}

/// An enumeration of objects: `"name" = Variant { "key" = field: Type, .. }`. The variant's name is the value of
/// the key `tag`. A field without a key is an object whose keys stand among the others.
macro_rules! objects {
    (
        $(#[$outer:meta])*
        pub enum $enum:ident by $tag:literal { $(
            $(#[$inner:meta])*
            $name:literal = $variant:ident { $($(#[$of_field:meta])* $($key:literal =)? $field:ident: $type:ty,)* }
        )* }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
        #[serde(tag = $tag)]
        pub enum $enum { $(
            $(#[$inner])*
            #[serde(rename = $name)]
            $variant { $($(#[$of_field])* $(#[serde(rename = $key)])? $field: $type,)* },
        )* }
    };
}

pub(crate) use {names, objects};

/// An address or a set of bits: a string in hexadecimal, as short as can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex(pub u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

impl JsonSchema for Hex {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Hex".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^0x(0|[1-9a-f][0-9a-f]{0,15})$" })
    }
}

/// A word of a record or a command: a string in hexadecimal, with all of its 16 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub u64);

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#018x}", self.0))
    }
}

impl JsonSchema for Word {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^0x[0-9a-f]{16}$" })
    }
}
