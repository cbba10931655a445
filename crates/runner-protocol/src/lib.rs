//! The framed protocol between the server and the runner in a container.
