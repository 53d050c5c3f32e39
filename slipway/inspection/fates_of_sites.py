"""The fates of a host's sites and their certificates."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from slipway.inspection import nginx
from slipway.inspection.plan import Plan
from slipway.inspection.report import Certificate, Fate, Report, Site
from slipway.settings.model import Settings
from slipway.tasks import nginx as nginx_task

FOLDER = "/etc/nginx"


def tell(found: Report, settings: Settings, plan: Plan, files: Mapping[str, str], copied: Callable[[str], str]) -> None:
    """Set the fates. `files` are Nginx's, by name; `copied` notes whether a path is backed up."""
    after = files_after(files, settings, plan, found)
    sites = nginx.sites_of(nginx.parse(after))
    included = {site.file for site in sites}
    for site in found.sites:
        site.fate = _site(site, settings, plan, included, copied)
    for certificate in found.certificates:
        certificate.fate = _certificate(certificate, found, settings, plan)


def is_touched(site: Site, plan: Plan) -> bool:
    """Whether the plan changes the file of a site, or the link's target."""
    return any(True for _ in plan.touching(site.file, *([site.real_file] if site.real_file else [])))


def files_after(files: Mapping[str, str], settings: Settings, plan: Plan, found: Report) -> dict[str, str]:
    """Nginx's files after an apply, by the names under which they are included."""
    configuration = nginx_task.configuration(settings, brotli=False)
    own = {f"{FOLDER}/{name}": text for name, text in configuration.items()}
    for name, target in nginx_task.links(settings).items():
        own[f"{FOLDER}/{name}"] = own[f"{FOLDER}/{target.removeprefix('../')}"]
    gone = {site.file for site in found.sites if is_touched(site, plan)}
    top = f"{FOLDER}/nginx.conf"
    return {top: own[top], **{name: text for name, text in files.items() if name not in gone}, **own}


def _site(
    site: Site,
    settings: Settings,
    plan: Plan,
    included: set[str],
    copied: Callable[[str], str],
) -> Fate:
    if site.server != "nginx":
        taken = [text for text in plan.refusals if text.startswith("port ") and f"'{site.server}'" in text]
        return Fate(verdict="refuse", reason="; ".join(taken)) if taken else Fate(verdict="keep")
    served = [name for name in site.names if name in settings.domains]
    left = [name for name in site.names if name not in settings.domains]
    if held := plan.about(f"{site.file}:", *(("site_domain:", "site_aliases:") if served else ())):
        return Fate(verdict="refuse", reason=held)
    touched = is_touched(site, plan)
    if site.by_slipway:
        return Fate(verdict="keep", reason="Slipway's own")
    if not touched and site.file in included:
        return Fate(verdict="keep")
    way = f"{site.file} is replaced ({copied(site.file)})" if touched else f"nginx.conf no longer includes {site.file}"
    if served and not left:
        return Fate(verdict="replace", reason=f"{way}: Slipway's own configuration serves the names")
    if not site.names:
        return Fate(verdict="replace", reason=way)
    return Fate(verdict="remove", reason=f"{way}, and {', '.join(left)} will not be served")


def _certificate(certificate: Certificate, found: Report, settings: Settings, plan: Plan) -> Fate:
    new = plan.step("Get a certificate")
    serves = any(site.certificate == certificate.path and {*site.names} & {*settings.domains} for site in found.sites)
    is_own = certificate.path.startswith((f"/etc/letsencrypt/live/{settings.site_name}/", f"{settings.tls_folder}/"))
    if new is None or not (serves or is_own):
        return Fate(verdict="keep")
    why = "; ".join(line.removeprefix("certificate: ") for line in new.lines if not line.endswith(" there is none"))
    why = f" ({why})" if why else ""
    kept = any(
        step.component == "adoption" and line.endswith(f" {certificate.path}")
        for step in plan.steps
        for line in step.lines
    )
    if kept or is_own:
        return Fate(verdict="replace", reason=f"served until certbot has obtained Slipway's{why}")
    return Fate(verdict="replace", reason=f"a self-signed one is served until certbot has obtained Slipway's{why}")
