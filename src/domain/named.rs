//! Enums whose variants have names outside of the program.

/// Declares an enum with the name of each variant, and with a list of all of them that leaves none out.
macro_rules! named {
    (
        $(#[$enum_doc:meta])*
        $visibility:vis enum $enum:ident {
            $($(#[$doc:meta])* $variant:ident = $name:expr,)+
        }
    ) => {
        $(#[$enum_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $visibility enum $enum {
            $($(#[$doc])* $variant,)+
        }

        impl $enum {
            /// All of them.
            $visibility const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name.
            $visibility fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

pub(crate) use named;
