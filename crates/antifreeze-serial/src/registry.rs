//! What programs want class dicts to become, where they decode a [`Value`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use crate::{Dict, Error, ErrorKind, Value};

type Convert = dyn Fn(&str, Dict) -> Result<Value, BoxedError> + Send + Sync;
type BoxedError = Box<dyn std::error::Error + Send + Sync>;

static CONVERTERS: LazyLock<RwLock<HashMap<String, Arc<Convert>>>> = LazyLock::new(RwLock::default);
/// Whether there ever was one; nearly all programs have none.
static ANY: AtomicBool = AtomicBool::new(false);

/// Has class dicts of this name converted wherever one is decoded as a [`Value`], in this process.
///
/// It is asked before everything else, also for the names of Pyro's own classes, and for names with
/// double underscores (`__main__.Point`), which are refused otherwise. What it returns takes the
/// place of the dict. From serpent, marshal and json it gets the dict as it came, with class dicts
/// within; from msgpack those are converted already. One that was registered before is replaced.
///
/// A type under `#[derive(Class)]`, or any other that is deserialized, needs none of this.
///
/// ```
/// use antifreeze_serial::{Limits, Serializer, Value, decode, register_dict_to_class};
///
/// register_dict_to_class("shapes.Point", |_class, dict| {
///     let part = |name| dict.get(name).cloned().ok_or("a point without coordinates");
///     Ok(Value::Tuple(vec![part("x")?, part("y")?]))
/// });
/// let document = br#"[{"__class__": "shapes.Point", "x": 1, "y": 2}]"#;
/// let value: Value = decode(Serializer::Json, document, &Limits::default())?;
/// assert_eq!(value.to_string(), "[(1, 2)]");
/// # Ok::<(), antifreeze_serial::Error>(())
/// ```
///
/// Its error fails the decoding of the whole document, and a peer sees it as a `ValueError`.
///
/// # Wire
///
/// Pyro5 5.17, `serializers.py`, `SerializerBase.register_dict_to_class`.
pub fn register_dict_to_class<F>(class: impl Into<String>, convert: F)
where
    F: Fn(&str, Dict) -> Result<Value, BoxedError> + Send + Sync + 'static,
{
    let mut converters = CONVERTERS.write().unwrap_or_else(PoisonError::into_inner);
    converters.insert(class.into(), Arc::new(convert));
    ANY.store(true, Ordering::Release);
}

/// Takes back what [`register_dict_to_class`] did for a name; says whether there was anything.
pub fn unregister_dict_to_class(class: &str) -> bool {
    let mut converters = CONVERTERS.write().unwrap_or_else(PoisonError::into_inner);
    converters.remove(class).is_some()
}

/// What somebody wants class dicts of this name to become.
pub(crate) fn converter(class: &str) -> Option<impl Fn(&str, Dict) -> Result<Value, Error>> {
    if !ANY.load(Ordering::Acquire) {
        return None;
    }
    let converters = CONVERTERS.read().unwrap_or_else(PoisonError::into_inner);
    // It is called without the lock: it may decode, or register others.
    let convert = Arc::clone(converters.get(class)?);
    Some(move |class: &str, dict: Dict| {
        let refused = |error: BoxedError| Error::new(ErrorKind::Refused, error.to_string());
        convert(class, dict).map_err(refused)
    })
}
