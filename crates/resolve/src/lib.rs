//! Which versions a job's next build takes.
