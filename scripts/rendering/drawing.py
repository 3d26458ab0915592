"""Draw a face with OpenGL, off screen (EGL): no display and no graphics card are needed.

Lambert's and Phong's shading with light that wraps around edges, most in red, as light does that is scattered under
skin; a shadow map with soft edges; and depth darkening for mouth, nostrils and eye sockets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from hsemotion_cli.domain import Image
from hsemotion_cli.errors import InputError, UsageError

from .assets import GET, Assets, Mesh, Triangles, Vertices
from .people import Item
from .scenes import Camera, Light

SIZE, SUPERSAMPLING = 224, 2
"""Pixels of a side of the image, and how many times as many are drawn."""

NEAR, FAR = 0.5, 60.0
"""Decimetres from the camera between which things are drawn."""

SHADOW_MAP, LARGEST_TEXTURE = 768, 1024

NECK, SHOULDERS = 5.2, 2.4
"""Height above which, and distance from the middle within which the body is drawn, in decimetres of the base mesh."""

HALOS = ((0.01, 2.2), (0.025, 0.9))
"""Depth darkening (Luft, Colditz & Deussen 2006, ACM TOG 25(3):1206): widths of the blur in images, and strengths."""

DEEPEST, DARKENING = 0.35, 3.2
"""Decimetres behind its surroundings from which nothing gets darker, and darkening per decimetre."""

_VERTEX = """#version 330
in vec3 point; in vec3 normal; in vec2 place;
uniform mat4 camera; uniform mat4 lamp;
out vec3 P; out vec3 N; out vec2 U; out vec4 S;
void main() { P = point; N = normal; U = place; S = lamp * vec4(point, 1); gl_Position = camera * vec4(point, 1); }
"""
_FRAGMENT = """#version 330
in vec3 P; in vec3 N; in vec2 U; in vec4 S;
out vec4 colour;
uniform sampler2D skin; uniform sampler2D depths;
uniform vec3 L1, L2, L3, eye, c1, c2, c3, above, below, tint;
uniform float gloss, sharpness, wrap, least, softness, shadow;
uniform int sides;
void main() {
  vec4 a = texture(skin, vec2(U.x, 1 - U.y));
  if (a.a < least) discard;
  vec3 base = pow(a.rgb, vec3(2.2)) * tint, n = normalize(N), v = normalize(eye - P);
  if (!gl_FrontFacing && sides == 2) n = -n;
  vec3 s = S.xyz / S.w * .5 + .5;
  float lit = 0.;
  for (int i = -2; i <= 2; i++) for (int j = -2; j <= 2; j++) {
    float d = texture(depths, s.xy + vec2(i, j) * softness).r;
    lit += (s.z - .004 > d) ? 0. : 1.;
  }
  lit /= 25.;
  lit = mix(1., lit, shadow);
  vec3 w = vec3(wrap, wrap * .45, wrap * .35);
  vec3 d1 = max((vec3(dot(n, L1)) + w) / (1 + w), 0.) * lit;
  vec3 d2 = max((vec3(dot(n, L2)) + w) / (1 + w), 0.), d3 = max((vec3(dot(n, L3)) + w) / (1 + w), 0.);
  vec3 around = mix(below, above, n.y * .5 + .5), h = normalize(L1 + v);
  float edge = pow(1 - max(dot(n, v), 0.), 4.);
  float shine = gloss * (pow(max(dot(n, h), 0.), sharpness) * lit + .25 * edge
    + .3 * pow(max(dot(n, normalize(L2 + v)), 0.), sharpness));
  colour = vec4(base * (around + c1 * d1 + c2 * d2 + c3 * d3) + c1 * shine, a.a);
}
"""
_SHADOW_VERTEX = """#version 330
in vec3 point; in vec2 place; uniform mat4 lamp; out vec2 U;
void main() { U = place; gl_Position = lamp * vec4(point, 1); }
"""
_SHADOW_FRAGMENT = """#version 330
in vec2 U; uniform sampler2D skin;
void main() { if (texture(skin, vec2(U.x, 1 - U.y)).a < .5) discard; }
"""

Matrix = NDArray[np.float64]


def open_context() -> Any:
    """An OpenGL context without a window.

    Raises:
        UsageError: moderngl or EGL is missing.
    """
    try:
        import moderngl
    except ImportError as error:
        raise UsageError("Faces are drawn by moderngl, which is not installed; run: pip install moderngl") from error
    try:
        return moderngl.create_context(standalone=True, backend="egl")
    except Exception as error:  # moderngl raises nothing more special
        raise UsageError(
            f"No OpenGL context off screen ({error}); on Debian and Ubuntu run: apt-get install libegl1 libgl1-mesa-dri"
        ) from error


def renderer_name() -> str:
    """Name and version of what draws, such as Mesa's llvmpipe.

    Raises:
        UsageError: moderngl or EGL is missing.
    """
    context = open_context()
    name = f"{context.info['GL_RENDERER']}, OpenGL {context.info['GL_VERSION']}"
    context.release()
    return name


class Surface:
    """Triangles with one entry for each pair of a vertex and a place in the texture.

    Attributes:
        vertices: (k,) indices into the mesh's vertices.
        uvs: (k, 2).
        corners: (t, 3) indices into these k.
    """

    def __init__(self, triangles: Triangles, uvs: NDArray[np.float32], count: int) -> None:
        pairs, inverse = np.unique(triangles.reshape(-1, 2), axis=0, return_inverse=True)
        self.vertices = pairs[:, 0]
        self.uvs = uvs[pairs[:, 1]].astype(np.float32)
        self.corners = inverse.astype(np.int32).reshape(-1, 3)
        self._triangles = triangles[:, :, 0]
        rows, columns = self._triangles.T.ravel(), np.tile(np.arange(len(triangles)), 3)
        ones = np.ones(len(rows), np.float32)
        self._touching = sparse.csr_matrix((ones, (rows, columns)), shape=(count, len(triangles)))

    def normals(self, vertices: Vertices) -> NDArray[np.float32]:
        """(n, 3) unit normals of a mesh's vertices: means of their triangles' by area."""
        first, second, third = (vertices[self._triangles[:, k]] for k in range(3))
        summed = self._touching @ np.cross(second - first, third - first)
        return np.asarray(summed / (np.linalg.norm(summed, axis=1, keepdims=True) + 1e-9))


def head_of(mesh: Mesh) -> Triangles:
    """Triangles of head and neck."""
    triangles = mesh.groups["body"]
    corners = mesh.vertices[triangles[:, :, 0]]
    return triangles[(corners[:, :, 1].max(axis=1) > NECK) & (np.abs(corners[:, :, 0]).min(axis=1) < SHOULDERS)]


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    """An item with its buffers of vertices and of indices, and its texture, on the device."""

    item: Item
    vertices: Any
    corners: Any
    texture: Any


class Renderer:
    """Draws faces of one size; close it with ``close``."""

    def __init__(self, assets: Assets, size: int = SIZE) -> None:
        self.size, self._assets = size, assets
        self._side = size * SUPERSAMPLING
        self._gl = context = open_context()
        self._program = context.program(_VERTEX, _FRAGMENT)
        self._shadow_program = context.program(_SHADOW_VERTEX, _SHADOW_FRAGMENT)
        self._depth = context.depth_texture((self._side, self._side))
        self._target = context.framebuffer([context.texture((self._side, self._side), 4, dtype="f2")], self._depth)
        self._shadow = context.depth_texture((SHADOW_MAP, SHADOW_MAP))
        self._shadow.compare_func = ""
        self._shadow_target = context.framebuffer(depth_attachment=self._shadow)
        self._surfaces = {"body": Surface(head_of(assets.mesh), assets.mesh.uvs, len(assets.mesh.vertices))}
        self._textures: dict[str, Any] = {}

    def close(self) -> None:
        """Release the context."""
        self._gl.release()

    def draw(self, vertices: Vertices, items: Sequence[Item], camera: Camera, light: Light, back: Image) -> Image:
        """Draw a face.

        Args:
            vertices: (n, 3) of the base mesh.
            back: RGB background of any size.

        Returns:
            (size, size, 3) RGB.
        """
        loaded = [self._load(item, vertices) for item in items]
        lamp = orthographic(2.2, 0.1, 20) @ looking(
            camera.centre + light.directions[0] * 9, camera.centre, (0, 1, 0.01)
        )
        self._gl.enable(self._gl.DEPTH_TEST)
        self._draw_shadows(loaded, lamp)
        self._set_scene(camera, light, lamp)
        self._draw_items(loaded)
        side = self._side
        colours = np.frombuffer(self._target.read(components=4, dtype="f2"), np.float16).reshape(side, side, 4)[::-1]
        depths = np.frombuffer(self._depth.read(), "f4").reshape(side, side)[::-1]
        for one in loaded:
            one.vertices.release()
            one.corners.release()
        return finished(colours.astype(np.float32), depths, light, back, self.size)

    def _load(self, item: Item, vertices: Vertices) -> _Loaded:
        if item.mesh != "body":
            proxy = self._assets.proxies[item.mesh]
            vertices = proxy.fitted(vertices)
            if item.mesh not in self._surfaces:
                self._surfaces[item.mesh] = Surface(proxy.triangles, proxy.uvs, len(proxy.references))
        surface = self._surfaces[item.mesh]
        normals = surface.normals(vertices)
        rows = np.hstack([vertices[surface.vertices], normals[surface.vertices], surface.uvs]).astype("f4")
        return _Loaded(
            item,
            self._gl.buffer(rows.tobytes()),
            self._gl.buffer(surface.corners.tobytes()),
            self._texture(item.texture),
        )

    def _texture(self, path: str) -> Any:
        if path not in self._textures:
            image = decoded(self._assets.textures[path], path)
            texture = self._gl.texture(image.shape[1::-1], 4, image.tobytes())
            texture.build_mipmaps()
            texture.filter = (self._gl.LINEAR_MIPMAP_LINEAR, self._gl.LINEAR)
            self._textures[path] = texture
        return self._textures[path]

    def _draw_shadows(self, loaded: Sequence[_Loaded], lamp: Matrix) -> None:
        """Depths as seen from the first lamp."""
        self._shadow_target.use()
        self._shadow_target.clear(depth=1.0)
        self._shadow_program["lamp"].write(lamp.T.astype("f4").tobytes())
        for one in loaded:
            if one.item.casts_shadow:
                one.texture.use(0)
                buffers = [(one.vertices, "3f 12x 2f", "point", "place")]
                array = self._gl.vertex_array(self._shadow_program, buffers, one.corners)
                array.render()
                array.release()

    def _set_scene(self, camera: Camera, light: Light, lamp: Matrix) -> None:
        eye = camera.centre + np.array([0, 0, camera.distance])
        view = perspective(camera.angle, NEAR, FAR) @ looking(eye, camera.centre, (0, 1, 0))
        values: dict[str, ArrayLike] = {"camera": view.T, "lamp": lamp.T, "eye": eye}
        values |= {f"L{k + 1}": light.directions[k] for k in range(3)} | {
            f"c{k + 1}": light.colours[k] for k in range(3)
        }
        values |= {"above": light.above, "below": light.below, "softness": light.softness, "shadow": light.shadow}
        self._set(values)
        self._program["depths"], self._program["skin"] = 1, 0
        self._shadow.use(1)
        self._target.use()
        self._target.clear(0, 0, 0, 0, depth=1.0)

    def _set(self, values: dict[str, ArrayLike]) -> None:
        for name, value in values.items():
            self._program[name].write(np.asarray(value, "f4").tobytes())

    def _draw_items(self, loaded: Sequence[_Loaded]) -> None:
        """First what is opaque, then what is not: its opaque parts with their depths, then its edges without."""
        gl = self._gl
        gl.blend_func = gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE_MINUS_SRC_ALPHA
        gl.disable(gl.BLEND)
        for one in loaded:
            if not one.item.see_through:
                self._draw_item(one, 0.1)
        gl.enable(gl.BLEND)
        for one in loaded:
            if one.item.see_through:
                self._draw_item(one, 0.6)
                self._target.depth_mask = False
                self._draw_item(one, 0.03)
                self._target.depth_mask = True

    def _draw_item(self, one: _Loaded, least: float) -> None:
        """Draw where an item's texture is at least so opaque."""
        item = one.item
        one.texture.use(0)
        self._set({"tint": item.tint, "gloss": item.gloss, "sharpness": item.sharpness, "wrap": item.wrap})
        self._set({"least": least})
        self._program["sides"] = 2 if item.see_through else 1
        buffers = [(one.vertices, "3f 3f 2f", "point", "normal", "place")]
        array = self._gl.vertex_array(self._program, buffers, one.corners)
        array.render()
        array.release()


def decoded(data: bytes, path: str) -> Image:
    """(h, w, 4) RGBA of an encoded texture, at most ``LARGEST_TEXTURE`` pixels wide and high.

    Args:
        path: its name.

    Raises:
        InputError: it is damaged.
    """
    image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise InputError(f"{path} in the package of MakeHuman: cannot be decoded as an image; {GET['makehuman']}")
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if max(image.shape) > LARGEST_TEXTURE:
        scale = LARGEST_TEXTURE / max(image.shape)
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if image.shape[2] == 3:
        image = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    return np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA), np.uint8)


def looking(eye: Matrix, centre: Matrix, up: Sequence[float]) -> Matrix:
    """(4, 4) from the world to a camera that looks from one point (3,) at another."""
    forward = centre - eye
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, up)
    right = right / np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, :3] = right, np.cross(right, forward), -forward
    matrix[:3, 3] = -matrix[:3, :3] @ eye
    return matrix


def perspective(angle: float, near: float, far: float) -> Matrix:
    """(4, 4) OpenGL's perspective with an angle of view in radians."""
    f = 1 / np.tan(angle / 2)
    depth = [0, 0, (far + near) / (near - far), 2 * far * near / (near - far)]
    return np.array([[f, 0, 0, 0], [0, f, 0, 0], depth, [0, 0, -1, 0]])


def orthographic(half: float, near: float, far: float) -> Matrix:
    """(4, 4) OpenGL's parallel projection of a square, given half its side."""
    depth = [0, 0, -2 / (far - near), -(far + near) / (far - near)]
    return np.array([[1 / half, 0, 0, 0], [0, 1 / half, 0, 0], depth, [0, 0, 0, 1.0]])


def finished(colours: NDArray[np.float32], depths: NDArray[np.float32], light: Light, back: Image, size: int) -> Image:
    """(size, size, 3) RGB from what was drawn: hollows darkened, exposed, on its background.

    Args:
        colours: (side, side, 4) linear RGB and opacity.
        depths: (side, side) of the depth buffer, 1 where nothing is.
    """
    side = len(depths)
    covered = (depths < 1).astype(np.float32)
    rgb = colours[..., :3] * np.exp(-hollows(depths, covered) * DARKENING * light.darkening)[..., None]
    rgb = exposed(rgb, light.brightness)
    opacity = np.where(covered[..., None] > 0, 1.0, np.clip(colours[..., 3:4], 0, 1))
    behind = cv2.resize(back, (side, side)).astype(np.float32)
    image = rgb ** (1 / 2.2) * 255 * opacity + behind * (1 - opacity)
    return np.clip(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), 0, 255).astype(np.uint8)


def hollows(depths: NDArray[np.float32], covered: NDArray[np.float32]) -> NDArray[np.float32]:
    """(side, side) how far the surface lies behind its surroundings, in decimetres times the strengths of ``HALOS``."""
    distance = 2 * NEAR * FAR / (FAR + NEAR - (2 * depths - 1) * (FAR - NEAR))
    distance = (distance * covered).astype(np.float32)
    found = np.zeros_like(distance)
    for width, strength in HALOS:
        sigma = width * len(depths)
        around = cv2.GaussianBlur(distance, (0, 0), sigma)
        around = around / np.maximum(cv2.GaussianBlur(covered, (0, 0), sigma), 1e-3)
        found += strength * np.clip(distance - around, 0, DEEPEST) * covered
    return found


def exposed(rgb: NDArray[np.floating], brightness: float) -> NDArray[np.floating]:
    """Linear RGB as a film shows it (1 - exp(-light)), with a value of 0 to 255 for the middle of the image."""
    middle, reach = len(rgb) // 2, len(rgb) // 8
    part = slice(middle - reach, middle + reach)
    luminance = rgb[part, part] @ [0.3, 0.59, 0.11]
    wanted = (brightness / 255) ** 2.2
    return np.asarray(1 - np.exp(-rgb * (-np.log(1 - wanted) / max(np.percentile(luminance, 60), 1e-3))))
