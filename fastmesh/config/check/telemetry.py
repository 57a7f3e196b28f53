"""Telemetry and ProxyConfig.

https://istio.io/latest/docs/reference/config/telemetry/
"""

from __future__ import annotations

from fastmesh.config.check import cel
from fastmesh.config.check.attachment import check_attachment
from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_duration, check_selector
from fastmesh.config.resource import AnyResource
from fastmesh.model.proxy_config import ProxyConfig
from fastmesh.model.telemetry import (
    AccessLogging,
    CustomTag,
    Metrics,
    MetricsOverrides,
    ProviderRef,
    Telemetry,
    Tracing,
)

MAX_VARIABLE = 2048


def check_telemetry(resource: AnyResource, spec: Telemetry, at: At) -> None:
    check_attachment(spec, at)
    if len(spec.tracing) > 1:
        at["tracing"][1].advice("only the first entry is used, remove this one")
    for index, tracing in enumerate(spec.tracing):
        _check_tracing(tracing, at["tracing"][index])
    for index, metrics in enumerate(spec.metrics):
        _check_metrics(metrics, at["metrics"][index])
    for index, logging in enumerate(spec.access_logging):
        _check_logging(logging, at["accessLogging"][index])


def _check_providers(providers: list[ProviderRef], at: At) -> None:
    for index, provider in enumerate(providers):
        if not provider.name:
            at[index]["name"].error("is empty, name an extension provider of the mesh")


def _check_tracing(tracing: Tracing, at: At) -> None:
    _check_providers(tracing.providers, at["providers"])
    if len(tracing.providers) > 1:
        at["providers"][1].advice("only the first provider is used, remove this one")
    share = tracing.random_sampling_percentage
    if share is not None and not 0 <= share <= 100:
        at["randomSamplingPercentage"].error(f"{share:g} is not a percentage, write 0 to 100")
    for name, tag in tracing.custom_tags.items():
        _check_tag(name, tag, at["customTags"][name])


def _check_tag(name: str, tag: CustomTag, at: At) -> None:
    if not name:
        at.error("a tag has no name, write name: {...}")
    kinds = {"literal": tag.literal, "environment": tag.environment, "header": tag.header, "formatter": tag.formatter}
    given = [kind for kind, value in kinds.items() if value is not None]
    if len(given) > 1:
        at[given[1]].error(f"{' and '.join(given)} exclude each other, keep one")
    if tag.literal is not None and not tag.literal.value:
        at["literal"]["value"].error("is empty, write the value of the tag")
    if tag.formatter is not None and not tag.formatter.value:
        at["formatter"]["value"].error("is empty, write the format of the tag")
    if tag.environment is not None and not tag.environment.name:
        at["environment"]["name"].error("is empty, name the variable")
    if tag.header is not None and not tag.header.name:
        at["header"]["name"].error("is empty, name the header")


def _check_metrics(metrics: Metrics, at: At) -> None:
    _check_providers(metrics.providers, at["providers"])
    check_duration(metrics.reporting_interval, at["reportingInterval"])
    for index, override in enumerate(metrics.overrides):
        _check_override(override, at["overrides"][index])


def _check_override(override: MetricsOverrides, at: At) -> None:
    match = override.match
    if match is not None:
        if match.custom_metric == "":
            at["match"]["customMetric"].error("is empty, name the metric")
        if match.custom_metric is not None and match.metric is not None:
            at["match"]["customMetric"].error("metric and customMetric exclude each other, keep one")
    for name, tag in override.tag_overrides.items():
        place = at["tagOverrides"][name]
        if not name:
            place.advice("a tag has no name, write name: {...}")
        if tag.operation == "UPSERT" and not tag.value:
            place.error("value must be set when operation is UPSERT, add value: ...")
        elif tag.operation == "REMOVE" and tag.value is not None:
            place["value"].error("must not be set when operation is REMOVE, remove it")


def _check_logging(logging: AccessLogging, at: At) -> None:
    _check_providers(logging.providers, at["providers"])
    if logging.filter is not None:
        complaint = cel.syntax_error(logging.filter.expression)
        if complaint:
            at["filter"]["expression"].error(f"is not a CEL expression: {complaint}")


def check_proxy_config(resource: AnyResource, spec: ProxyConfig, at: At) -> None:
    if spec.selector is not None:
        labels = spec.selector.match_labels
        check_selector(labels, at["selector"]["matchLabels"], "it selects all workloads of the namespace")
    if spec.concurrency is not None and spec.concurrency < 0:
        at["concurrency"].error(f"{spec.concurrency} is negative, write 0 (all cores) or more")
    for name, value in spec.environment_variables.items():
        if len(value) > MAX_VARIABLE:
            at["environmentVariables"][name].error(f"is longer than {MAX_VARIABLE} characters")
