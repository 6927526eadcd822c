//! Who a proxied peer really is.
