#!/usr/bin/env bash
# Installs each archive into an empty environment with the versions of constraints.txt,
# and uses it in an empty folder, with an empty HOME and without network: `ssgan doctor`
# for each archive, and a whole quick start for the first.
#
#     tests/check_dist.sh dist/*.whl dist/*.tar.gz
set -euo pipefail
tests=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

is_first=1
mapfile -t archives < <(realpath "$@")
for archive in "${archives[@]}"; do
  environment=$folder/$(basename "$archive")
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
  if [ "$is_first" ]; then
    ssgan train --gin_config=quickstart.gin --model_dir=run
    ssgan sample --module=run/tfhub/1600 --num=64 --out=samples.png
    ssgan report run --out=report.html
    test -s samples.png
    test -s report.html
    is_first=
  fi
  echo "good: $(basename "$archive")"
done
