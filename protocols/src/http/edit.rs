//! Changes to a head.
//! Owns what rules and connection handling want changed, and writes the head anew only if there is something.
//! Must never let a change alter the framing of the body, nor put a line end into a field.

use super::{Field, Head, Known, Span, Version, head::tokens};

/// Changes to one head. Kept per process and reused, so that it stops allocating.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    arena: Vec<u8>,
    target: Option<Span>,
    fields: Vec<(usize, Option<Span>)>,
    added: Vec<(Span, Span)>,
}

impl Edits {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.target = None;
        self.fields.clear();
        self.added.clear();
    }

    /// Nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.target.is_none() && self.fields.is_empty() && self.added.is_empty()
    }

    /// Whether the head must be written anew.
    pub fn needed(&self, head: &Head) -> bool {
        head.lf || !self.is_empty()
    }

    /// The request target as it will be sent.
    pub fn target<'a>(&'a self, head: &Head, bytes: &'a [u8]) -> &'a [u8] {
        match self.target {
            Some(span) => span.of(&self.arena),
            None => head.target.of(bytes),
        }
    }

    /// Replaces the request target; bytes that cannot stand in one are percent-encoded.
    pub fn set_target(&mut self, parts: &[&[u8]]) {
        let start = self.arena.len();
        for byte in parts.iter().copied().flatten() {
            if (0x21..0x7f).contains(byte) {
                self.arena.push(*byte);
            } else {
                let digit = |n: u8| {
                    char::from_digit(n.into(), 16)
                        .unwrap_or('0')
                        .to_ascii_uppercase() as u8
                };
                self.arena
                    .extend([b'%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
        self.target = Some(self.span(start));
    }

    /// Removes the field at `index`.
    pub fn remove_at(&mut self, index: usize) {
        self.put(index, None);
    }

    /// Replaces the value of the field at `index`.
    pub fn set_at(&mut self, index: usize, value: &[u8]) {
        let value = self.store(value);
        self.put(index, Some(value));
    }

    /// Adds a field at the end.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        let (name, value) = (self.store(name), self.store(value));
        self.added.push((name, value));
    }

    /// Adds a field, or fills the first one of that name if it is empty.
    pub fn append(&mut self, head: &Head, bytes: &[u8], name: &[u8], value: &[u8]) {
        match self.first(head, bytes, name) {
            Some(Place::Field(index)) if self.value_at(head, bytes, index).is_empty() => {
                self.set_at(index, value);
            }
            _ => self.add(name, value),
        }
    }

    /// Replaces the value of the first field of a name, or adds it.
    pub fn set(&mut self, head: &Head, bytes: &[u8], name: &[u8], value: &[u8]) {
        match self.first(head, bytes, name) {
            Some(Place::Field(index)) => self.set_at(index, value),
            Some(Place::Added(index)) => {
                let value = self.store(value);
                if let Some(added) = self.added.get_mut(index) {
                    added.1 = value;
                }
            }
            None => self.add(name, value),
        }
    }

    /// Removes all fields of a name.
    pub fn remove(&mut self, head: &Head, bytes: &[u8], name: &[u8]) {
        for (index, field) in head.fields.iter().enumerate() {
            if field.name.of(bytes).eq_ignore_ascii_case(name) {
                self.put(index, None);
            }
        }
        let arena = &self.arena;
        self.added
            .retain(|added| !added.0.of(arena).eq_ignore_ascii_case(name));
    }

    /// Replaces the values of all fields of a name for which `change` has another one; a field whose value becomes
    /// empty goes.
    pub fn rewrite(
        &mut self,
        head: &Head,
        bytes: &[u8],
        name: &[u8],
        change: impl Fn(&[u8]) -> Option<Vec<u8>>,
    ) {
        for (index, field) in head.fields.iter().enumerate() {
            if !field.name.of(bytes).eq_ignore_ascii_case(name) {
                continue;
            }
            match change(self.value_at(head, bytes, index)) {
                Some(value) if value.is_empty() => self.remove_at(index),
                Some(value) => self.set_at(index, &value),
                None => {}
            }
        }
        let mut empty = Vec::new();
        for index in 0..self.added.len() {
            let Some((of, value)) = self.added.get(index).copied() else {
                continue;
            };
            if !of.of(&self.arena).eq_ignore_ascii_case(name) {
                continue;
            }
            let Some(new) = change(value.of(&self.arena)) else {
                continue;
            };
            empty.extend(new.is_empty().then_some(index));
            let value = self.store(&new);
            if let Some(added) = self.added.get_mut(index) {
                added.1 = value;
            }
        }
        for index in empty.into_iter().rev() {
            self.added.remove(index);
        }
    }

    /// Merges a value into the first field of a name (`append` of relayd 5.5 and before), or adds the field.
    pub fn merge(&mut self, head: &Head, bytes: &[u8], name: &[u8], value: &[u8]) {
        let old = match self.first(head, bytes, name) {
            Some(Place::Field(index)) => self.value_at(head, bytes, index).to_vec(),
            Some(Place::Added(index)) => self
                .added
                .get(index)
                .map(|added| added.1.of(&self.arena).to_vec())
                .unwrap_or_default(),
            None => return self.add(name, value),
        };
        let merged = [old.as_slice(), b", ", value].concat();
        self.set(head, bytes, name, &merged);
    }

    /// Makes Connection say whether the sender goes on, unless a rule has its own word on it. Returns what it says
    /// in the end: whether the connection this head is sent on stays open.
    pub fn settle(&mut self, head: &Head, bytes: &[u8], keep: bool) -> bool {
        let touched = self
            .fields
            .iter()
            .any(|(index, _)| is_connection(head.fields.get(*index)))
            || self
                .added
                .iter()
                .any(|(name, _)| Known::of(name.of(&self.arena)) == Known::Connection);
        if touched {
            let (close, keep_alive) = self.final_connection(head, bytes);
            let says = !close && (head.version == Version::Http11 || keep_alive);
            if says && !keep {
                self.add(b"Connection", b"close");
            }
            return says && keep;
        }
        if head.persistent() == keep {
            return keep;
        }
        match (head.version, keep) {
            (Version::Http11, true) => self.strip_tokens(head, bytes),
            (Version::Http11, false) => {
                if head.keep_alive {
                    self.strip_tokens(head, bytes);
                }
                self.add(b"Connection", b"close");
            }
            // A version 1.0 peer keeps a connection only if it asked to; what it did not ask for is not given.
            (Version::Http10, true) => return false,
            (Version::Http10, false) => self.strip_tokens(head, bytes),
        }
        keep
    }

    /// Writes the changed head to `out`.
    pub fn render(&self, head: &Head, bytes: &[u8], out: &mut Vec<u8>) {
        let first_end = head
            .fields
            .first()
            .map_or(head.len.saturating_sub(if head.lf { 1 } else { 2 }), |f| {
                f.name.start as usize
            });
        let first_line = bytes.get(..first_end).unwrap_or_default();
        match self.target {
            Some(target) => {
                out.extend_from_slice(head.method_name.of(bytes));
                out.push(b' ');
                out.extend_from_slice(target.of(&self.arena));
                out.extend_from_slice(match head.version {
                    Version::Http10 => b" HTTP/1.0",
                    Version::Http11 => b" HTTP/1.1",
                });
            }
            None => out.extend_from_slice(first_line.trim_ascii_end()),
        }
        out.extend_from_slice(b"\r\n");
        if self.fields.is_empty() && !head.lf {
            out.extend_from_slice(bytes.get(first_end..head.len - 2).unwrap_or_default());
        } else {
            self.render_fields(head, bytes, out);
        }
        for (name, value) in &self.added {
            line(out, name.of(&self.arena), value.of(&self.arena));
        }
        out.extend_from_slice(b"\r\n");
    }

    fn render_fields(&self, head: &Head, bytes: &[u8], out: &mut Vec<u8>) {
        for (index, field) in head.fields.iter().enumerate() {
            match self.changed(index) {
                Some(None) => {}
                Some(Some(value)) => line(out, field.name.of(bytes), value.of(&self.arena)),
                None => line(out, field.name.of(bytes), field.value.of(bytes)),
            }
        }
    }

    fn changed(&self, index: usize) -> Option<Option<Span>> {
        self.fields
            .iter()
            .find(|(at, _)| *at == index)
            .map(|(_, value)| *value)
    }

    fn put(&mut self, index: usize, value: Option<Span>) {
        match self.fields.iter_mut().find(|(at, _)| *at == index) {
            Some(entry) => entry.1 = value,
            None => self.fields.push((index, value)),
        }
    }

    fn value_at<'a>(&'a self, head: &Head, bytes: &'a [u8], index: usize) -> &'a [u8] {
        match self.changed(index) {
            Some(value) => value.unwrap_or_default().of(&self.arena),
            None => head
                .fields
                .get(index)
                .map(|field| field.value.of(bytes))
                .unwrap_or_default(),
        }
    }

    fn first(&self, head: &Head, bytes: &[u8], name: &[u8]) -> Option<Place> {
        let named = |field: &Field| field.name.of(bytes).eq_ignore_ascii_case(name);
        let field = head
            .fields
            .iter()
            .enumerate()
            .find(|(index, field)| named(field) && self.changed(*index) != Some(None))
            .map(|(index, _)| Place::Field(index));
        field.or_else(|| {
            self.added
                .iter()
                .position(|added| added.0.of(&self.arena).eq_ignore_ascii_case(name))
                .map(Place::Added)
        })
    }

    fn final_connection(&self, head: &Head, bytes: &[u8]) -> (bool, bool) {
        let mut said = (false, false);
        let kept = head
            .fields
            .iter()
            .enumerate()
            .filter(|(_, field)| is_connection(Some(field)))
            .map(|(index, _)| self.value_at(head, bytes, index));
        let arena = &self.arena;
        let added = self
            .added
            .iter()
            .filter(|(name, _)| Known::of(name.of(arena)) == Known::Connection)
            .map(|(_, value)| value.of(arena));
        for token in kept.chain(added).flat_map(tokens) {
            said.0 |= token.eq_ignore_ascii_case(b"close");
            said.1 |= token.eq_ignore_ascii_case(b"keep-alive");
        }
        said
    }

    fn strip_tokens(&mut self, head: &Head, bytes: &[u8]) {
        for (index, field) in head.fields.iter().enumerate() {
            if !is_connection(Some(field)) {
                continue;
            }
            let start = self.arena.len();
            for token in tokens(field.value.of(bytes)) {
                if token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive")
                {
                    continue;
                }
                if self.arena.len() > start {
                    self.arena.extend_from_slice(b", ");
                }
                self.arena.extend_from_slice(token);
            }
            let rest = self.span(start);
            self.put(index, (rest.start != rest.end).then_some(rest));
        }
    }

    fn store(&mut self, text: &[u8]) -> Span {
        let start = self.arena.len();
        // A line end inside a value would be a new field.
        let clean = |byte: &u8| {
            if matches!(byte, b'\r' | b'\n' | 0) {
                b' '
            } else {
                *byte
            }
        };
        self.arena.extend(text.iter().map(clean));
        self.span(start)
    }

    fn span(&self, start: usize) -> Span {
        Span {
            start: start as u32,
            end: self.arena.len() as u32,
        }
    }
}

enum Place {
    Field(usize),
    Added(usize),
}

fn is_connection(field: Option<&Field>) -> bool {
    field.is_some_and(|field| field.known == Known::Connection)
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
