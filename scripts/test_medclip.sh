#!/usr/bin/env bash
# Compare MedCLIPEncoder with the package medclip 0.0.3. Called by `make test-medclip`, which has
# made .venv. The package needs an old transformers: it gets an environment of its own, which takes
# everything else from .venv.
set -eu
cd "$(dirname "$0")/.."

VENV=.venv-medclip
STAMP=$VENV/.installed
PACKAGES=(
    medclip==0.0.3
    # The newest with which the package works: from 4.25 on its image processor fails.
    transformers==4.24.0 tokenizers==0.13.3 huggingface_hub==0.36.2
    # What `import medclip` asks for beside.
    pandas==2.3.3 python-dateutil==2.9.0.post0 six==1.17.0 pytz==2025.2 tzdata==2025.2
    nltk==3.9.2 scikit-learn==1.7.2 joblib==1.5.2 threadpoolctl==3.6.0
)

if [ ! -f "$STAMP" ] || [ "$(cat "$STAMP")" != "${PACKAGES[*]}" ]; then
    printf 'Installing %s into %s\n' "${PACKAGES[0]}" "$VENV"
    rm -rf "$VENV"
    .venv/bin/python -m venv --without-pip "$VENV"
    .venv/bin/python -m pip --python "$VENV/bin/python" --disable-pip-version-check --quiet \
        install --no-deps "${PACKAGES[@]}"
    site_packages=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    .venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$site_packages/project.pth"
    printf '%s' "${PACKAGES[*]}" >"$STAMP"
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$VENV/bin/python" scripts/test_medclip.py package "$folder"
.venv/bin/python scripts/test_medclip.py ours "$folder"
