//! One message per `read()`.
