"""Which files of a build browsers may keep for a year."""

from __future__ import annotations

import pytest

from slipway.settings.hashed_names import has_hash


@pytest.mark.parametrize(
    "path",
    [
        "/static/js/main.3f2a91bc.js",
        "/static/js/main.3f2a91bc.chunk.js.map",
        "/static/css/2.0dd1e8b7a1c2.css",
        "/assets/index-BfX3k9aQ.js",
        "/assets/index-D_x-3k9a.css",
        "/assets/chunk-ABCDEFGH.js",
        "/_astro/page.DkZ8q1Xy.css",
        "/_next/static/kQ0x1/_buildManifest.js",
        "/_app/immutable/entry/start.js",
        "/_nuxt/e4tvxfzZ.js",
        "/static/0123456789abcdef0123/logo.png",
    ],
)
def test_a_name_with_a_hash_is_found(path):
    assert has_hash(path)


@pytest.mark.parametrize(
    "path",
    [
        "/assets/logo.png",
        "/_nuxt/builds/latest.json",
        "/assets/hero-background.jpg",
        "/assets/hero-1280x720.jpg",
        "/assets/team-20240101.jpg",
        "/assets/banner-mobile01.png",
        "/assets/Inter-SemiBold.woff2",
        "/assets/inter-v12-latin-regular.woff2",
        "/assets/roboto-v12-bold.woff2",
        "/assets/app-manifest.json",
        "/static/bootstrap.bundle.min.js",
        "/static/jquery-3.6.0.min.js",
        "/static/photos-facade01/front.jpg",
        "/static/js/main.js",
    ],
)
def test_a_name_that_a_new_file_may_have_is_not_taken_for_one(path):
    assert not has_hash(path)
