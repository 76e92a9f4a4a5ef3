//! How a filter becomes the component's exports.

/// Exports a [`Filter`](crate::Filter) as a component. Once in a crate, which is built as a `cdylib`.
///
/// - `filter:` the type;
/// - `world:` `filter`, or `request-filter` for one that never looks at responses;
/// - `schema:` (optional) the JSON Schema of its config, which admission and `weft check` hold configs against;
/// - `doc:` (optional) its documentation, Markdown. Both travel inside the component.
///
/// ```ignore
/// weft_filter_sdk::export!(
///     filter: Tier,
///     world: request-filter,
///     schema: include_str!("../schema.json"),
///     doc: include_str!("../README.md"),
/// );
/// ```
#[macro_export]
macro_rules! export {
    (filter: $filter:ty, world: filter $($sections:tt)*) => {
        $crate::export!(@component $filter, {
            impl $crate::bindings::response::exports::weft::filter::response_phase::Guest for Component {
                fn on_response(
                    attributes: ::std::vec::Vec<::std::option::Option<::std::string::String>>,
                    state: ::std::option::Option<::std::vec::Vec<u8>>,
                ) -> $crate::ResponseVerdict {
                    INSTANCE.with(|instance| instance.on_response(&attributes, state.as_deref()))
                }
            }

            $crate::bindings::response::export_world!(Component with_types_in $crate::bindings::response);
        });
        $crate::export!(@sections $($sections)*);
    };
    (filter: $filter:ty, world: request-filter $($sections:tt)*) => {
        $crate::export!(@component $filter, {});
        $crate::export!(@sections $($sections)*);
    };
    // Natively there is nothing to export, and two filters in one test binary would collide.
    (@component $filter:ty, { $($response:tt)* }) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;

            ::std::thread_local! {
                static INSTANCE: $crate::guest::Cell<$filter> = const { $crate::guest::Cell::new() };
            }

            impl $crate::bindings::request::exports::weft::filter::policy::Guest for Component {
                fn configure(
                    config: ::std::string::String,
                ) -> ::std::result::Result<
                    $crate::bindings::request::weft::filter::types::Manifest,
                    ::std::string::String,
                > {
                    INSTANCE.with(|instance| instance.configure(&config))
                }
            }

            impl $crate::bindings::request::exports::weft::filter::request_phase::Guest for Component {
                fn on_request(
                    attributes: ::std::vec::Vec<::std::option::Option<::std::string::String>>,
                    _body: ::std::option::Option<::std::vec::Vec<u8>>,
                ) -> $crate::Verdict {
                    INSTANCE.with(|instance| instance.on_request(&attributes))
                }
            }

            $crate::bindings::request::export_world!(Component with_types_in $crate::bindings::request);

            $($response)*
        };
    };
    (@sections $(, schema: $schema:expr)? $(, doc: $doc:expr)? $(,)?) => {
        $($crate::export!(@section "weft:config-schema", $schema);)?
        $($crate::export!(@section "weft:doc", $doc);)?
    };
    (@section $name:literal, $text:expr) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            const TEXT: &str = $text;
            #[used]
            #[unsafe(link_section = $name)]
            static SECTION: [u8; TEXT.len()] = $crate::guest::section(TEXT);
        };
    };
}
