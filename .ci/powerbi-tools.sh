#!/usr/bin/env bash
# What the Power BI checks need and the project does not: .ci/powerbi-tools.sh FOLDER puts it there, outside the
# repository. The tests find it by FUNNELIFT_POWERBI_TOOLS=FOLDER. Safe to repeat; a tool that is there stays.
set -euo pipefail
folder=${1:?usage: .ci/powerbi-tools.sh FOLDER}
mkdir -p "$folder"
cd "$folder"
as_root=()
if [[ $EUID -ne 0 ]]; then as_root=(sudo); fi

missing=()
command -v npm >/dev/null || missing+=(npm)
# netstandard.dll and the whole class library come with mono-devel only.
[[ -e /usr/lib/mono/4.5/Facades/netstandard.dll ]] || missing+=(mono-devel)
if [[ ${#missing[@]} -gt 0 ]]; then
  "${as_root[@]}" apt-get -qq update
  "${as_root[@]}" apt-get -qq install -y --no-install-recommends "${missing[@]}"
fi

if [[ ! -e node/.installed ]]; then
  mkdir -p node
  packages=(@microsoft/powerbi-report-authoring-cli@0.1.4 @microsoft/powerbi-core-visual-schema@0.1.1
    @microsoft/powerquery-parser@2.0.0)
  # Debian's node may be older than the tools ask for; npm has newer ones.
  node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20)' || packages+=(node@22.23.3)
  npm install --prefix node --no-audit --no-fund --no-save --loglevel error "${packages[@]}"
  touch node/.installed
fi

for python in python3.11 python3.12 python3; do
  "$python" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2])' 2>/dev/null && break
done
# Each in a virtual environment of its own: neither belongs to the project, and they want other versions than it does.
for tool in tom=pbi-cli-tool==3.12.0 dax=pbix-mcp==0.9.149; do
  venv=${tool%%=*}
  if [[ ! -e $venv/.installed ]]; then
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${tool#*=}"
    touch "$venv/.installed"
  fi
done
