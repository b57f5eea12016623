# speechprune on a CPU, without a checkout in the image: docker build -t speechprune . ; docs/installing.md has the calls.
FROM python:3.11-slim AS wheel
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE ./
COPY speechprune speechprune
COPY recipes recipes
COPY local local
COPY utils utils
COPY egs egs
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
# PyTorch's own index of builds without CUDA; remove the option for a GPU (and take an image that brings the driver's part).
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints.txt /constraints.txt
COPY --from=wheel /wheels /wheels
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" "$(grep ^torch== /constraints.txt)" && \
    pip install --no-cache-dir --constraint /constraints.txt "$(echo /wheels/*.whl)[page,parquet]"
RUN useradd --create-home --uid 1000 user
USER 1000
WORKDIR /home/user
CMD ["speechprune", "--help"]
