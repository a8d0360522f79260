#!/bin/sh
# In place of rustc for the crates of this workspace (RUSTC_WORKSPACE_WRAPPER): libFuzzer's counters
# in all that is not a build script. What others wrote needs none and keeps its speed.
case " $* " in
*" --crate-name build_script_"* | *" --print "* | *" -vV "*) exec "$@" ;;
esac
exec "$@" -Copt-level=2 -Cdebug-assertions=on -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1
