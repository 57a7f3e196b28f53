"""What a problem is called: Istio's numbers where the meaning is the same, ours (FM) where Istio has none.

https://istio.io/latest/docs/reference/config/analysis/
"""

from __future__ import annotations

from typing import NamedTuple

from fastmesh.errors import Problem, Severity


class Cause(NamedTuple):
    name: str
    severity: Severity


CAUSES: dict[str, Cause] = {
    "IST0002": Cause("Deprecated", "warning"),
    "IST0101": Cause("ReferencedResourceNotFound", "error"),
    "IST0106": Cause("SchemaValidationError", "error"),
    "IST0107": Cause("MisplacedAnnotation", "warning"),
    "IST0108": Cause("UnknownAnnotation", "warning"),
    "IST0109": Cause("ConflictingMeshGatewayVirtualServiceHosts", "error"),
    "IST0110": Cause("ConflictingSidecarWorkloadSelectors", "error"),
    "IST0111": Cause("MultipleSidecarsWithoutWorkloadSelectors", "error"),
    "IST0112": Cause("VirtualServiceDestinationPortSelectorRequired", "error"),
    "IST0116": Cause("DeploymentAssociatedToMultipleServices", "warning"),
    "IST0118": Cause("PortNameIsNotUnderNamingConvention", "note"),
    "IST0125": Cause("InvalidAnnotation", "warning"),
    "IST0127": Cause("NoMatchingWorkloadsFound", "warning"),
    "IST0128": Cause("NoServerCertificateVerificationDestinationLevel", "warning"),
    "IST0129": Cause("NoServerCertificateVerificationPortLevel", "warning"),
    "IST0130": Cause("VirtualServiceUnreachableRule", "warning"),
    "IST0131": Cause("VirtualServiceIneffectiveMatch", "note"),
    "IST0132": Cause("VirtualServiceHostNotFoundInGateway", "warning"),
    "IST0133": Cause("SchemaWarning", "warning"),
    "IST0134": Cause("ServiceEntryAddressesRequired", "warning"),
    "IST0135": Cause("DeprecatedAnnotation", "note"),
    "IST0137": Cause("DeploymentConflictingPorts", "warning"),
    "IST0138": Cause("GatewayDuplicateCertificate", "warning"),
    "IST0140": Cause("IngressRouteRulesNotAffected", "warning"),
    "IST0144": Cause("InvalidApplicationUID", "warning"),
    "IST0145": Cause("ConflictingGateways", "error"),
    "IST0149": Cause("JwtClaimBasedRoutingWithoutRequestAuthN", "error"),
    "IST0150": Cause("ExternalNameServiceTypeInvalidPortName", "warning"),
    "IST0151": Cause("EnvoyFilterUsesRelativeOperation", "warning"),
    "IST0152": Cause("EnvoyFilterUsesReplaceOperationIncorrectly", "error"),
    "IST0153": Cause("EnvoyFilterUsesAddOperationIncorrectly", "error"),
    "IST0154": Cause("EnvoyFilterUsesRemoveOperationIncorrectly", "error"),
    "IST0155": Cause("EnvoyFilterUsesRelativeOperationWithProxyVersion", "warning"),
    "IST0157": Cause("InvalidTelemetryProvider", "warning"),
    "IST0159": Cause("ConflictingTelemetryWorkloadSelectors", "error"),
    "IST0160": Cause("MultipleTelemetriesWithoutWorkloadSelectors", "error"),
    "IST0161": Cause("InvalidGatewayCredential", "error"),
    "IST0162": Cause("GatewayPortNotDefinedOnService", "warning"),
    "IST0165": Cause("ReferencedInternalGateway", "warning"),
    "IST0166": Cause("IneffectiveSelector", "warning"),
    "IST0167": Cause("IneffectivePolicy", "warning"),
    "IST0171": Cause("NegativeConditionStatus", "warning"),
    "IST0173": Cause("DestinationRuleSubsetNotSelectPods", "error"),
    "IST0174": Cause("UnknownDestinationRuleHost", "warning"),
    "IST0177": Cause("ConflictingServiceEntryProtocol", "warning"),
    "FM0001": Cause("NotServedYet", "warning"),
    "FM0002": Cause("SpellingThatIstioDoesNotHave", "warning"),
    "FM0003": Cause("SecurityNotEnforced", "warning"),
    "FM0004": Cause("VirtualServiceOnGatewayOfTheGatewayAPI", "warning"),
    "FM0005": Cause("DefinedTwice", "warning"),
    "FM0006": Cause("NotOfThisMesh", "note"),
}

_BY_CODE = {
    "invalid": "IST0106", "advice": "IST0133", "reference": "IST0101", "deviation": "FM0002",
    "unserved": "FM0001", "unenforced": "FM0003", "skipped": "FM0006", "analysis": "IST0133",
}  # fmt: skip


def cause_of(problem: Problem) -> str:
    return problem.cause or _BY_CODE[problem.code]


def severity_of(problem: Problem) -> Severity:
    return CAUSES[cause_of(problem)].severity
