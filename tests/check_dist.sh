#!/usr/bin/env bash
# Installs each archive into an empty environment, at the versions of constraints.txt,
# and uses it in an empty folder with an empty HOME and without network: `ssgan doctor`
# for each, a whole quick start for the first.
#
#     tests/check_dist.sh dist/*.whl dist/*.tar.gz
set -euo pipefail
tests=$(cd "$(dirname "$0")" && pwd)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

whole=1
mapfile -t archives < <(realpath "$@")
for archive in "${archives[@]}"; do
  environment=$place/$(basename "$archive")
  "${PYTHON:-python3}" -m venv "$environment"
  "$environment/bin/pip" install --quiet --constraint "$tests/../constraints.txt" "$archive"
  mkdir "$environment/empty" "$environment/home"
  cd "$environment/empty"
  ssgan() {
    echo "\$ ssgan $*"
    env -i HOME="$environment/home" PATH="$environment/bin:/usr/bin:/bin" \
      "$tests/offline.sh" "$environment/bin/ssgan" "$@"
  }
  ssgan doctor
  if [ "$whole" ]; then
    ssgan train --gin_config=quickstart.gin --model_dir=run
    ssgan sample --module=run/tfhub/1600 --num=64 --out=samples.png
    ssgan report run --out=report.html
    test -s samples.png
    test -s report.html
    whole=
  fi
  echo "good: $(basename "$archive")"
done
