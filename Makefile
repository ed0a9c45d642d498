# Hearth: a short front for Meson and the scripts. `make run` and `make test` need nothing else.
.POSIX:

PREFIX = /usr/local
DESTDIR =
MODEL = smollm2:135m
FUZZ_SECONDS = 60
PART =

all:
	@sh scripts/install-deps.sh scripts/packages.txt
	@sh scripts/build.sh build

run:
	@sh scripts/run.sh "$(MODEL)"

test:
	@bash scripts/test.sh

bench: all
	@sh scripts/bench.sh

bench-serve: all
	@sh scripts/bench-serve.sh

asan:
	@sh scripts/install-deps.sh scripts/packages.txt
	@sh scripts/sanitize.sh build-asan address,undefined $(PART)

tsan:
	@sh scripts/install-deps.sh scripts/packages.txt
	@sh scripts/sanitize.sh build-tsan thread $(PART)

fuzz:
	@sh scripts/install-deps.sh scripts/packages.txt scripts/packages-test.txt
	@sh scripts/fuzz.sh $(FUZZ_SECONDS)

lint:
	@sh scripts/lint.sh

format:
	@sh scripts/check-format.sh --fix

install: all
	@meson setup --reconfigure build --prefix="$(PREFIX)" >/dev/null
	@DESTDIR="$(DESTDIR)" meson install -C build --quiet
	@echo "installed below $(DESTDIR)$(PREFIX)"

clean:
	rm -rf build build-asan build-tsan build-fuzz

.PHONY: all run test bench bench-serve asan tsan fuzz lint format install clean
