# Every target is a script of its own: this file only names them.
.PHONY: help build build-arm64 check test test-guests test-long bench demo clean-cache

help:
	@echo 'make build         the release program, for this machine'
	@echo 'make build-arm64   the release program for arm64, on any machine'
	@echo 'make demo          a stock Debian image, launched from its image.json to its login'
	@echo 'make check         layout and lints, for both architectures'
	@echo 'make test          all tests of minutes: 15 at most, installs what they need'
	@echo 'make test-guests   every guest test: 45 minutes at most'
	@echo 'make test-long     guests of other makers, power cuts, long fuzzing: 30 minutes at most'
	@echo 'make bench         figures beside QEMU: 22 minutes; ROWS=launch,memory,instances: 1 minute'
	@echo 'make clean-cache   removes the images and packages that the tests keep'

build build-arm64 check test test-guests test-long bench clean-cache:
	@tests/make/$@

demo:
	@tests/demo
