//! JSON as serde's data model, with the path to whatever is wrong. It does not know what a config means.

use std::borrow::Cow;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::text::Text;
use crate::ConfigError;

/// Lists and objects inside one another; a deeper config is refused rather than trusted with the stack.
const DEPTH_MAX: u32 = 64;

pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, ConfigError> {
    let mut reader = Reader { text: Text::new(text), depth: 0 };
    let value = T::deserialize(&mut reader)?;
    match reader.text.peek() {
        0 => Ok(value),
        _ => Err(reader.text.broken()),
    }
}

struct Reader<'de> {
    text: Text<'de>,
    depth: u32,
}

impl<'de> Reader<'de> {
    fn open(&mut self, bracket: u8) -> Result<(), ConfigError> {
        self.text.expect(bracket)?;
        self.depth += 1;
        match self.depth > DEPTH_MAX {
            true => Err(ConfigError::custom("is nested too deeply")),
            false => Ok(()),
        }
    }

    fn close(&mut self, bracket: u8) -> Result<(), ConfigError> {
        self.depth -= 1;
        match self.text.take(bracket) {
            true => Ok(()),
            false => Err(ConfigError::custom("has more elements than it may")),
        }
    }

    /// Whether another item follows; reads the comma before it.
    fn more(&mut self, end: u8, first: bool) -> Result<bool, ConfigError> {
        if self.text.peek() == end {
            return Ok(false);
        }
        if !first {
            self.text.expect(b',')?;
        }
        Ok(true)
    }

    fn key(&mut self) -> Result<Cow<'de, str>, ConfigError> {
        let key = self.text.string()?;
        self.text.expect(b':')?;
        Ok(key)
    }

    /// Reads past the next value and answers what kind of thing it was.
    fn skip(&mut self) -> Result<Unexpected<'static>, ConfigError> {
        match self.text.peek() {
            b'"' => self.text.string().map(|_| Unexpected::Other("a text")),
            open @ (b'{' | b'[') => self.skip_items(open),
            b't' | b'f' => match self.text.take_word("true") || self.text.take_word("false") {
                true => Ok(Unexpected::Other("true or false")),
                false => Err(self.text.broken()),
            },
            b'-' | b'0'..=b'9' => {
                self.text.number();
                Ok(Unexpected::Other("a number"))
            }
            _ if self.text.take_word("null") => Ok(Unexpected::Other("nothing")),
            _ => Err(self.text.broken()),
        }
    }

    fn skip_items(&mut self, open: u8) -> Result<Unexpected<'static>, ConfigError> {
        self.open(open)?;
        // In ASCII each closing bracket stands two after its opening one.
        let end = open + 2;
        let mut first = true;
        while self.more(end, first)? {
            if open == b'{' {
                self.key()?;
            }
            self.skip()?;
            first = false;
        }
        self.close(end)?;
        Ok(Unexpected::Other(if open == b'{' { "an object" } else { "a list" }))
    }

    /// The error for a value of another kind than was asked for.
    fn mismatch(&mut self, visitor: &dyn serde::de::Expected) -> ConfigError {
        match self.skip() {
            Ok(found) => ConfigError::invalid_type(found, visitor),
            Err(broken) => broken,
        }
    }

    fn integer<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ConfigError> {
        if !matches!(self.text.peek(), b'-' | b'0'..=b'9') {
            return Err(self.mismatch(&visitor));
        }
        let digits = self.text.number();
        if let Ok(number) = digits.parse::<u64>() {
            return visitor.visit_u64(number);
        }
        match digits.parse::<i64>() {
            Ok(number) => visitor.visit_i64(number),
            Err(_) => Err(ConfigError::invalid_value(Unexpected::Other(digits), &visitor)),
        }
    }

    fn text<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ConfigError> {
        if self.text.peek() != b'"' {
            return Err(self.mismatch(&visitor));
        }
        match self.text.string()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = ConfigError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.text.peek() {
            b'"' => self.text(visitor),
            b'{' => self.deserialize_map(visitor),
            b'[' => self.deserialize_seq(visitor),
            b't' | b'f' => self.deserialize_bool(visitor),
            b'n' => self.deserialize_unit(visitor),
            _ => self.deserialize_f64(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        if self.text.take_word("true") {
            return visitor.visit_bool(true);
        }
        match self.text.take_word("false") {
            true => visitor.visit_bool(false),
            false => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.integer(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.integer(visitor)
    }

    /// Apart from the integers, so that a filter without fractions does not carry the code that reads them.
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        if !matches!(self.text.peek(), b'-' | b'0'..=b'9') {
            return Err(self.mismatch(&visitor));
        }
        let digits = self.text.number();
        if let Ok(number) = digits.parse::<u64>() {
            return visitor.visit_u64(number);
        }
        match digits.parse::<f64>() {
            Ok(number) => visitor.visit_f64(number),
            Err(_) => Err(self.text.broken()),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.text(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.text.take_word("null") {
            true => visitor.visit_none(),
            false => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.text.take_word("null") {
            true => visitor.visit_unit(),
            false => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &str, visitor: V) -> Result<V::Value, ConfigError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.text.peek() {
            b'[' => self.open(b'[')?,
            // A type that takes a text as a short form asks for a list or an object; so it need not ask for anything.
            b'"' => return self.text(visitor),
            _ => return Err(self.mismatch(&visitor)),
        }
        let value = visitor.visit_seq(Items { reader: self, index: 0 })?;
        self.close(b']')?;
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.text.peek() {
            b'{' => self.open(b'{')?,
            b'"' => return self.text(visitor),
            _ => return Err(self.mismatch(&visitor)),
        }
        let value = visitor.visit_map(Fields { reader: self, first: true, field: Cow::Borrowed("") })?;
        self.close(b'}')?;
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        self.deserialize_map(visitor)
    }

    /// `"name"`, or `{"name": value}`.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        match self.text.peek() {
            b'"' => visitor.visit_enum(Variant { name: self.text.string()?, reader: None }),
            b'{' => {
                self.open(b'{')?;
                let name = self.key()?;
                let value = visitor.visit_enum(Variant { name, reader: Some(&mut *self) })?;
                self.close(b'}')?;
                Ok(value)
            }
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.text(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.skip()?;
        visitor.visit_unit()
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.integer(visitor)
    }
    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.integer(visitor)
    }
    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.integer(visitor)
    }
    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.integer(visitor)
    }
    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.integer(visitor)
    }
    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.integer(visitor)
    }
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.deserialize_f64(visitor)
    }
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.text(visitor)
    }
    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ConfigError> {
        self.deserialize_seq(visitor)
    }

    forward_to_deserialize_any! { i128 u128 char bytes byte_buf unit_struct tuple_struct }
}

struct Items<'r, 'de> {
    reader: &'r mut Reader<'de>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = ConfigError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ConfigError> {
        if !self.reader.more(b']', self.index == 0)? {
            return Ok(None);
        }
        let value = seed.deserialize(&mut *self.reader).map_err(|problem| problem.at(self.index))?;
        self.index += 1;
        Ok(Some(value))
    }
}

struct Fields<'r, 'de> {
    reader: &'r mut Reader<'de>,
    first: bool,
    field: Cow<'de, str>,
}

impl<'de> MapAccess<'de> for Fields<'_, 'de> {
    type Error = ConfigError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ConfigError> {
        if !self.reader.more(b'}', self.first)? {
            return Ok(None);
        }
        self.first = false;
        self.field = self.reader.key()?;
        let key: StrDeserializer<'_, ConfigError> = self.field.as_ref().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ConfigError> {
        seed.deserialize(&mut *self.reader).map_err(|problem| problem.under(&self.field))
    }
}

/// One case of an enum: its name, and where its value stands if it has one.
struct Variant<'r, 'de> {
    name: Cow<'de, str>,
    reader: Option<&'r mut Reader<'de>>,
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = ConfigError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), ConfigError> {
        let name: StrDeserializer<'_, ConfigError> = self.name.as_ref().into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> Variant<'_, 'de> {
    fn with_value<T>(self, read: impl FnOnce(&mut Reader<'de>) -> Result<T, ConfigError>) -> Result<T, ConfigError> {
        let name = self.name;
        match self.reader {
            Some(reader) => read(reader).map_err(|problem| problem.under(&name)),
            None => Err(ConfigError::custom(["`", &name, "` needs a value: {\"", &name, "\": …}"].concat())),
        }
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = ConfigError;

    fn unit_variant(self) -> Result<(), ConfigError> {
        match self.reader {
            None => Ok(()),
            Some(_) => {
                Err(ConfigError::custom(["`", &self.name, "` has no value: write \"", &self.name, "\""].concat()))
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ConfigError> {
        self.with_value(|reader| seed.deserialize(reader))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ConfigError> {
        self.with_value(|reader| reader.deserialize_seq(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, ConfigError> {
        self.with_value(|reader| reader.deserialize_map(visitor))
    }
}
