# One entry for people and for CI. Works with GNU make and BSD make.
#
#   make demo       build and run a small demonstration, no root needed
#   make test       every test (as root also those that need network namespaces)
#   make check      format, lints, documentation, licences, manuals, unit files, scripts
#   make bench      benchmarks
#   make install    binaries, manuals, examples and service files (DESTDIR, PREFIX)

CARGO = cargo
PREFIX = /usr/local
SYSCONFDIR = /etc
SBINDIR = $(PREFIX)/sbin
MANDIR = $(PREFIX)/share/man
EXAMPLEDIR = $(PREFIX)/share/examples/relayd
DESTDIR =
# The demonstration ends by itself after so many seconds; empty = at Ctrl-C.
DEMO_SECONDS =

all: build

build:
	@flags=$$(sh contrib/setup build) || exit 1; \
	$(CARGO) build --release --bins $$flags

demo:
	@flags=$$(sh contrib/setup build) || exit 1; \
	$(CARGO) build --workspace --bins --examples $$flags || exit 1; \
	DEMO_SECONDS="$(DEMO_SECONDS)" exec sh contrib/run-built examples/demo

test:
	@sh contrib/test

check:
	@sh contrib/check

bench:
	@flags=$$(sh contrib/setup build) || exit 1; \
	$(CARGO) bench --workspace $$flags

install: build
	@PREFIX="$(PREFIX)" SYSCONFDIR="$(SYSCONFDIR)" SBINDIR="$(SBINDIR)" MANDIR="$(MANDIR)" \
	EXAMPLEDIR="$(EXAMPLEDIR)" DESTDIR="$(DESTDIR)" sh contrib/install install

uninstall:
	@PREFIX="$(PREFIX)" SYSCONFDIR="$(SYSCONFDIR)" SBINDIR="$(SBINDIR)" MANDIR="$(MANDIR)" \
	EXAMPLEDIR="$(EXAMPLEDIR)" DESTDIR="$(DESTDIR)" sh contrib/install uninstall

clean:
	$(CARGO) clean

.PHONY: all build demo test check bench install uninstall clean
