//! Any expression of a rule or an element.
//! Owns the way from name and attributes to libnftnl's object.
//! Must never keep what it allocates: who asks for it owns it.

use super::{allocated, length, short, text};
use nftnl::Rule;
use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;
use std::ffi::{CStr, CString};
use std::ptr::NonNull;

/// Value of an expression's attribute.
#[derive(Clone, Debug)]
pub enum Attribute {
    /// Register, number …
    U32(u32),
    /// Two bytes.
    U16(u16),
    /// Eight bytes.
    U64(u64),
    /// Data.
    Bytes(Vec<u8>),
    /// Name.
    Text(CString),
    /// An expression inside.
    Inner(Box<Expr>),
}

/// An expression of any kind: its name and attributes as libnftnl numbers them.
#[derive(Clone, Debug)]
pub struct Expr {
    name: &'static CStr,
    attributes: Vec<(u32, Attribute)>,
}

impl Expr {
    /// An expression without attributes.
    pub fn new(name: &'static CStr) -> Expr {
        Expr {
            name,
            attributes: Vec::new(),
        }
    }

    /// Adds an attribute.
    pub fn with(mut self, attribute: u32, value: Attribute) -> Expr {
        self.attributes.push((attribute, value));
        self
    }

    /// Adds a number.
    pub fn u32(self, attribute: u32, value: u32) -> Expr {
        self.with(attribute, Attribute::U32(value))
    }

    /// Adds data.
    pub fn bytes(self, attribute: u32, value: &[u8]) -> Expr {
        self.with(attribute, Attribute::Bytes(value.to_vec()))
    }

    /// Adds a name.
    pub fn text(self, attribute: u32, value: &str) -> Expr {
        self.with(attribute, Attribute::Text(text(value)))
    }

    pub(super) fn allocate(&self) -> NonNull<sys::nftnl_expr> {
        // SAFETY: the name is a C string.
        let expr = allocated(unsafe { sys::nftnl_expr_alloc(self.name.as_ptr()) });
        let e = expr.as_ptr();
        for (attribute, value) in &self.attributes {
            let a = short(*attribute);
            // SAFETY: `e` is a live expression; libnftnl copies data and strings, and owns an inner expression.
            unsafe {
                match value {
                    Attribute::U16(v) => sys::nftnl_expr_set_u16(e, a, *v),
                    Attribute::U32(v) => sys::nftnl_expr_set_u32(e, a, *v),
                    Attribute::U64(v) => sys::nftnl_expr_set_u64(e, a, *v),
                    Attribute::Bytes(v) => {
                        sys::nftnl_expr_set(e, a, v.as_ptr().cast(), length(v));
                    }
                    Attribute::Text(v) => {
                        sys::nftnl_expr_set_str(e, a, v.as_ptr());
                    }
                    Attribute::Inner(v) => {
                        sys::nftnl_expr_add_expr(e, *attribute, v.allocate().as_ptr());
                    }
                }
            }
        }
        expr
    }
}

impl Expression for Expr {
    fn to_expr(&self, _rule: &Rule) -> NonNull<sys::nftnl_expr> {
        self.allocate()
    }
}
