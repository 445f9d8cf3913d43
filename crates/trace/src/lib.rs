//! Typed events of a run, their sinks and histograms.
