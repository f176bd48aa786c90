// systemd's naming of slices: a dash nests (systemd.slice(5)), so a-b.slice lives in a.slice/a-b.slice.

export function slicePath(slice: string): string {
  const parts = slice.replace(/\.slice$/, "").split("-");
  return parts.map((_, i) => `${parts.slice(0, i + 1).join("-")}.slice`).join("/");
}
