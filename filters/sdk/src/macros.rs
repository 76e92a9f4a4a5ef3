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
            #[unsafe(export_name = "weft:filter/response-phase@0.1.0#on-response")]
            unsafe extern "C" fn on_response(
                values: *const $crate::guest::Value<'static>,
                count: usize,
                has_state: i32,
                state: *const u8,
                state_bytes: usize,
            ) -> *const usize {
                // SAFETY: the host passes both lists for this call.
                let (values, state) =
                    unsafe { ($crate::guest::list(values, count), $crate::guest::list(state, state_bytes)) };
                INSTANCE.with(|instance| instance.on_response(values, (has_state != 0).then_some(state)))
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

            #[unsafe(export_name = "weft:filter/request-phase@0.1.0#on-request")]
            unsafe extern "C" fn on_request(
                values: *const $crate::guest::Value<'static>,
                count: usize,
                _has_body: i32,
                _body: *const u8,
                _body_bytes: usize,
            ) -> *const usize {
                // SAFETY: the host passes the list for this call.
                let values = unsafe { $crate::guest::list(values, count) };
                INSTANCE.with(|instance| instance.on_request(values))
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
