//! End-to-end tests that boot guests, and tests against outside oracles.
