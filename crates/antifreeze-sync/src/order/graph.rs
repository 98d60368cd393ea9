//! The order of classes as a graph, and its cycles.
