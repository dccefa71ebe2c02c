//! Names, services, interfaces and groups of this system.
