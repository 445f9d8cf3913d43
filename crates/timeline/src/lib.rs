//! Virtual time, ordered events, tasks that wait on them, and seeded distributions.
