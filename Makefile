# Two commands do all the set-up on a fresh Debian with cargo and gcc:
#   make demo   builds the hello image, boots it, fetches its page
#   make test   passes the tests

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

TARGET   := target/x86_64-unknown-linux-gnu
RELEASE  := $(TARGET)/release
SMALL    := $(TARGET)/small
# libostree can't be linked into static programs: what needs it is built with other flags, beside all else.
DYNAMIC  := target/dynamic
DYNAMIC_FLAGS := -C target-feature=-crt-static
HELPER   := $(DYNAMIC)/x86_64-unknown-linux-gnu/helper/mkimage-ostree
BUILD_HELPER := --locked --profile helper --no-default-features --features ostree --bin mkimage-ostree \
	--target-dir $(DYNAMIC)
# What mkimage puts into images, for programs that don't lie beside it.
INTO_IMAGES := MKIMAGE_INIT=$(CURDIR)/$(SMALL)/mkimage-init MKIMAGE_AGENT=$(CURDIR)/$(SMALL)/mkimage-agent
HELLO    := recipes/hello
RECIPES  := nginx python java node minimal debian-server
CARGO    ?= cargo
FUZZ_SECONDS ?= 60

DEMO_PACKAGES := qemu-system-x86 ovmf debian-archive-keyring ca-certificates
OSTREE_PACKAGES := libostree-dev pkg-config
TEST_PACKAGES := $(DEMO_PACKAGES) gdisk fdisk dosfstools mtools e2fsprogs cryptsetup-bin systemd-container \
	attr acl libcap2-bin cpio binutils xz-utils zstd bzip2 python3 python3-venv mmdebstrap strace kmod openssh-client openssl \
	procps rpm createrepo-c libsolv-tools gnupg nginx-light $(OSTREE_PACKAGES) ostree mount xfsprogs btrfs-progs \
	systemd-boot-efi qemu-system-common make ninja-build chromium genisoimage rsyslog
NIGHTLY_PACKAGES := $(TEST_PACKAGES) openjdk-17-jdk-headless
BENCH_PACKAGES := $(TEST_PACKAGES) diffoscope-minimal casync borgbackup ostree restic nginx-light rauc squashfs-tools

.PHONY: all demo test for-tests nightly mutated power-loss nfs ostree recipes lint bench fuzz install-demo install-test \
	install-nightly install-ostree install-bench hello clean help

help: ## Say what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

all: $(RELEASE)/mkimage $(RELEASE)/mkimage-init $(RELEASE)/mkimage-agent ## Build mkimage, and what goes into its images

demo: install-demo all hello ## Build the hello image, boot it under UEFI firmware, fetch its page
	@$(RELEASE)/mkimage check $(HELLO)/hello.hcl
	@started=$$(date +%s%N); \
	$(RELEASE)/mkimage build $(HELLO)/hello.hcl -o target/hello.img; \
	built=$$(date +%s%N); \
	$(RELEASE)/mkimage run target/hello.img --snapshot --fetch /; \
	fetched=$$(date +%s%N); \
	echo "demo: image built in $$(( (built - started) / 1000000 )) ms (packages fetched on the first run), booted and fetched in $$(( (fetched - built) / 1000000 )) ms"; \
	echo "demo: target/hello.img holds $$(( $$(stat -c %b target/hello.img) / 2048 )) MiB on disk; run it with $(RELEASE)/mkimage run target/hello.img"

test: install-test ## Run every test but the nightly ones
	@# Side by side: what goes into images ends in long steps of one thread.
	@$(MAKE) --no-print-directory lint & lint=$$!; $(MAKE) --no-print-directory for-tests || { wait; exit 1; }; wait $$lint
	$(INTO_IMAGES) MKIMAGE_OSTREE=$(CURDIR)/$(HELPER) \
		$(CARGO) test --locked -- --include-ignored --skip nightly:: --test-threads=$$(( $$(nproc) + 1 ))

for-tests: $(SMALL)/mkimage-init $(SMALL)/mkimage-agent $(HELPER) hello

nightly: install-nightly $(SMALL)/mkimage-init $(SMALL)/mkimage-agent ## Run the tests that take too long for each change
	$(INTO_IMAGES) $(CARGO) test --locked --test it -- --ignored nightly::

ostree: install-ostree all $(HELPER) ## Build mkimage-ostree, for OSTree repositories, beside mkimage
	cp $(HELPER) $(RELEASE)/mkimage-ostree

mutated: install-test ## Verify a hundred thousand mutated images (MUTATED_IMAGES): none may pass, hang or panic
	$(CARGO) test --locked --test it -- --ignored --nocapture verify::mutated::nightly::

power-loss: install-test ## Cut the power of real ext4, xfs and btrfs disks, 240 times each (as root: loop devices, FUSE)
	$(CARGO) test --locked --test it -- --ignored --nocapture store::replay::nightly::

nfs: install-test $(SMALL)/mkimage-init ## Have three machines share a store over NFS, and lose their power (in QEMU, some minutes)
	$(INTO_IMAGES) $(CARGO) test --locked --test it -- --ignored --nocapture store::nfs::nightly::

recipes: install-nightly all ## Build the image of every recipe into target/
	for name in $(RECIPES); do \
		if [ -e recipes/$$name/Makefile ]; then $(MAKE) --silent -C recipes/$$name; fi; \
		$(RELEASE)/mkimage build recipes/$$name/$$name.hcl -o target/$$name.img; done

lint: install-ostree ## Check format, lints and documentation
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --no-default-features --bin mkimage-init -- -D warnings
	rustfmt --check --edition 2024 src/loader/main.rs
	MKIMAGE_VERSION=lint CLIPPY_CONF_DIR=. clippy-driver --edition 2024 --crate-name mkimage_loader --crate-type bin \
		--emit metadata -o target/loader.rmeta -C panic=abort -C relocation-model=pic -D warnings src/loader/main.rs
	$(CARGO) clippy --locked --no-default-features --features agent --bin mkimage-agent -- -D warnings
	RUSTFLAGS="$(DYNAMIC_FLAGS)" $(CARGO) clippy $(BUILD_HELPER) -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --lib --quiet

bench: install-bench $(SMALL)/mkimage-init hello ## Compare with the peers on the same input in the same run
	$(INTO_IMAGES) $(CARGO) bench --locked

fuzz: ## Run every fuzz target for a minute (needs cargo-fuzz and a nightly toolchain)
	for target in $$($(CARGO) +nightly fuzz list --fuzz-dir tests/fuzz); do \
		$(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz --debug-assertions $$target -- -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -timeout=10; done

# Cargo knows best what is out of date: these are asked every time.
.PHONY: $(RELEASE)/mkimage $(SMALL)/mkimage-init $(SMALL)/mkimage-agent $(HELPER)
$(RELEASE)/mkimage:
	$(CARGO) build --locked --release --bin mkimage

$(SMALL)/mkimage-init:
	$(CARGO) build --locked --profile small --no-default-features --bin mkimage-init

$(SMALL)/mkimage-agent:
	$(CARGO) build --locked --profile small --no-default-features --features agent --bin mkimage-agent

$(HELPER):
	RUSTFLAGS="$(DYNAMIC_FLAGS)" $(CARGO) build $(BUILD_HELPER)

# Beside mkimage, where it looks first.
$(RELEASE)/mkimage-init $(RELEASE)/mkimage-agent: $(RELEASE)/%: $(SMALL)/% $(RELEASE)/mkimage
	cp $(SMALL)/$* $@

hello: ## Build the demo's app
	cd $(HELLO) && $(CARGO) build --locked --release --quiet

install-demo: PACKAGES = $(DEMO_PACKAGES)
install-test: PACKAGES = $(TEST_PACKAGES)
install-ostree: PACKAGES = $(OSTREE_PACKAGES)
install-nightly: PACKAGES = $(NIGHTLY_PACKAGES)
install-bench: PACKAGES = $(BENCH_PACKAGES)
install-demo install-test install-ostree install-nightly install-bench:
	@.ci/install $(PACKAGES)

clean: ## Remove what was built
	$(CARGO) clean
	rm -rf $(HELLO)/target
