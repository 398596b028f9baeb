# `make help` lists what there is to do.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
PROGRAMS := $(or $(CARGO_TARGET_DIR),target)/release
SECONDS_PER_TARGET ?= 20

FLAVOUR ?= production
PROFILE ?= server

.PHONY: audit-verifier sbom advisories measure-test help setup build run demo demo-refuse image boot image-test kernel kernel-check aml-test test test-clients kill-test soak broker-proofs audit-proofs lint python wasm test-bindings fuzz mutants verdicts bench bench-guest selinux apparmor-test deny cuda gpu-check gpu-guest-check gpu-image-check numa-check

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## Install what a fresh Debian 12 with Rust still lacks (a C compiler, pip, and for tests PostgreSQL and SoftHSM)
	@tests/scripts/setup.sh

build: setup ## Build every program (release profile)
	$(CARGO) build --release --workspace --bins

run: build ## Seal, attest, serve and ask; stay up on https://127.0.0.1:8443
	@$(PROGRAMS)/anchorhold-demo --stay

demo: build ## The same without staying up; JSON=FILE writes the stage times
	@$(PROGRAMS)/anchorhold-demo $(if $(JSON),--json '$(JSON)')

demo-refuse: build ## The same start, refused, once for each reason
	@$(PROGRAMS)/anchorhold-demo --refuse

image: build ## Build the guest's image: FLAVOUR=production, debug or demo, PROFILE=server, small or gpu (NVIDIA's driver and libraries, 0.9 GB of sources); prints its folder
	@CARGO='$(CARGO)' enclave-image/image.sh $(FLAVOUR) $(PROFILE)

kernel: setup ## Build the guest's kernels, unless they are there; prints their folder
	@$(CARGO) build --quiet --release --workspace --bin anchorhold-image
	@enclave-image/kernel.sh

kernel-check: kernel ## Build the guest's kernels a second time, elsewhere, and compare every byte
	@tests/scripts/kernel_check.sh

aml-test: kernel ## Boot the guest's kernel with ACPI programs of a hostile host: they reach Debian's memory and not ours
	@tests/scripts/aml.sh

boot: build ## The main job with the guest in QEMU, measured before; TPM=1 with UEFI and an emulated TPM; ACCEL=kvm or auto; TEE=snp or tdx shows that host's command line; PROFILE=gpu GPU=0000:41:00.0 passes a GPU through; JSON=FILE writes the stage times
	@image=$$(CARGO='$(CARGO)' enclave-image/image.sh demo $(PROFILE)) && $(PROGRAMS)/anchorhold-boot --image "$$image" \
	    --tools "$$(enclave-image/tools.sh)" $(if $(TPM),--tpm) $(if $(ACCEL),--accelerator '$(ACCEL)') $(if $(TEE),--tee '$(TEE)') $(if $(FIRMWARE),--firmware '$(FIRMWARE)') $(if $(GPU),--gpu '$(GPU)') $(if $(JSON),--json '$(JSON)')

image-sbom: setup ## Write the image's components as CycloneDX, and unsigned provenance if IMAGE names its folder, into target/supply-chain
	@CARGO='$(CARGO)' IMAGE='$(IMAGE)' PROFILE='$(PROFILE)' tests/scripts/supply_chain.sh sbom

advisories: setup ## Hold the image's components against advisory databases: RUSTSEC=folder, DEBIAN=tracker.json; RELEASE=trixie
	@CARGO='$(CARGO)' RUSTSEC='$(RUSTSEC)' DEBIAN='$(DEBIAN)' RELEASE='$(RELEASE)' PROFILE='$(PROFILE)' tests/scripts/supply_chain.sh advisories

measure-test: build ## What image measure computes against sev-snp-measure, the sev crate and systemd-measure
	@CARGO='$(CARGO)' tests/scripts/measure.sh

image-test: build ## Build the image twice and compare, boot it, and see that a changed byte anywhere is refused; at most 10 minutes
	@CARGO='$(CARGO)' JSON='$(JSON)' tests/scripts/image.sh

test: build ## Build and run every test; the last line counts them
	@CARGO='$(CARGO)' tests/scripts/test.sh

test-clients: build ## Other people's clients and scanners against the demonstration's server; packages come from PyPI and npm, pinned
	@tests/scripts/clients.sh

soak: build ## 64 callers who stream and leave at random for 10 minutes (SECONDS): memory flat, no place lost, one answer a question
	@$(PROGRAMS)/anchorhold-soak --seconds $(or $(SECONDS),600)

kill-test: build ## Kill 1,000 guests (ITERATIONS) while they fetch and load, and search their disks
	@$(PROGRAMS)/anchorhold-kill-test --iterations $(or $(ITERATIONS),1000)

broker-proofs: setup ## 10,000 random histories of the broker (SEEDS), 1,000 kills inside a release (KILLS), 100 breakdowns on PostgreSQL, times
	SEEDS=$(or $(SEEDS),10000) $(CARGO) test --release -p anchorhold-key-broker --test simulation -- --nocapture
	KILLS=$(or $(KILLS),1000) $(CARGO) test --release -p anchorhold-key-broker --test kills -- --nocapture
	CHAOS_ROUNDS=$(or $(CHAOS_ROUNDS),100) $(CARGO) test --release -p anchorhold-key-broker --test many_brokers
	TRIES=$(or $(TRIES),10000) $(CARGO) test --release -p anchorhold-key-broker --test measured -- --ignored --nocapture --test-threads 1

audit-proofs: setup ## 10,000 random histories of a log's disk, clocks and crashes (SEEDS), 1,000 kills of a writer (KILLS), each of its system calls failed, 10,000,000 entries (ENTRIES) exported and verified in constant memory
	SEEDS=$(or $(SEEDS),10000) $(CARGO) test --release -p anchorhold-audit-log --test simulation -- --nocapture
	KILLS=$(or $(KILLS),1000) $(CARGO) test --release -p anchorhold-audit-log --test log case_27_what_was -- --nocapture
	CI=1 $(CARGO) test --release -p anchorhold-audit-log --test syscalls -- --nocapture
	ENTRIES=$(or $(ENTRIES),10000000) $(CARGO) test --release -p anchorhold-audit-log --test memory -- --nocapture

lint: setup ## Formatting and lints, warnings refused; the verifier for WebAssembly
	@CARGO='$(CARGO)' tests/scripts/lint.sh

audit-verifier: setup ## Build the static verifier of audit logs for musl; prints its size and digest
	@CARGO='$(CARGO)' JSON='$(JSON)' tests/scripts/audit_verifier.sh

python: setup ## Build the Python wheel into target/wheels
	@tests/scripts/python.sh

wasm: setup ## Build the npm package into target/npm and state its size
	@CARGO='$(CARGO)' tests/scripts/wasm.sh

test-bindings: setup ## Test both, and compare what Rust, Python and WebAssembly say of the same vectors; JSON=FILE writes figures
	@CARGO='$(CARGO)' JSON='$(JSON)' tests/scripts/bindings.sh

fuzz: setup ## Run every fuzz target for SECONDS_PER_TARGET seconds (20)
	@CARGO='$(CARGO)' tests/scripts/fuzz.sh $(SECONDS_PER_TARGET)

mutants: setup ## Mutation test of one crate: CRATE=anchorhold-verifier ARGS='--shard 0/40'; see tests/scripts/mutants.sh, and mutants.py for many at once
	@CARGO='$(CARGO)' tests/scripts/mutants.sh $(or $(CRATE),$(error name a CRATE)) $(ARGS)

verdicts: setup ## Write anew what refusals say and what every profile says of every vector; review the diff
	WRITE_VERDICTS=1 $(CARGO) test --release -p anchorhold-corpus --test rejection explained
	WRITE_VERDICTS=1 $(CARGO) test --release -p anchorhold-appraisal-policy --test policy vectors

selinux: setup ## Compile the guest's SELinux policy, try to break each of its claims, compare what processes may do with the golden texts
	@tests/scripts/selinux.sh

apparmor-test: build ## Load the profiles for AppArmor into a kernel in QEMU and try to break out of the worker's
	@tests/scripts/apparmor.sh

deny: ## Licences, sources and second versions of dependencies
	$(CARGO) deny check bans licenses sources
	$(CARGO) deny --manifest-path tests/differential/Cargo.toml --config deny.toml check bans licenses sources

cuda: setup ## Compile the CUDA kernels with nvcc from PyPI and build the worker that runs them; needs no GPU
	@CARGO='$(CARGO)' tests/scripts/cuda.sh

gpu-check: setup ## Parity and throughput on a GPU (ANCHORHOLD_GPU_MODEL: a model's folder); ends with error 3 where there is none
	@CARGO='$(CARGO)' tests/scripts/gpu_check.sh

gpu-guest-check: kernel ## Boot guests that were promised GPUs on a machine without, with NVIDIA's driver and without: each ends before it opens its disk
	@CARGO='$(CARGO)' tests/scripts/gpu_guest.sh

gpu-image-check: build ## Build the image for GPUs twice, compare every byte, and state its sizes; JSON=FILE writes them
	@CARGO='$(CARGO)' JSON='$(JSON)' tests/scripts/gpu_image.sh

bench-guest: kernel ## What confinement costs the main job in the guest's kernel, control groups included; JSON=FILE writes the figures
	@CARGO='$(CARGO)' JSON='$(JSON)' tests/scripts/confinement_guest.sh

numa-check: kernel ## Memory of a process in a worker's group lies on the NUMA node that was asked for, in a guest with two in QEMU
	@CARGO='$(CARGO)' tests/scripts/numa_guest.sh

bench: build ## Measure; JSON=FILE writes name, value, unit, peer and ratio
	@CARGO='$(CARGO)' JSON='$(JSON)' tests/scripts/bench.sh
