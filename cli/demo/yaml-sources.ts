// The demo's resources as text, carried inside the executable and written out so that a reader can open, change and apply them.
import bookstore from "./bookstore.yaml" with { type: "text" };
import canary5050 from "./examples/canary-50-50.yaml" with { type: "text" };
import canary9010 from "./examples/canary-90-10.yaml" with { type: "text" };
import headerJason from "./examples/header-jason.yaml" with { type: "text" };
import permissive from "./examples/permissive.yaml" with { type: "text" };
import ratingsFail from "./examples/ratings-fail.yaml" with { type: "text" };
import reviewsOnlyProductpage from "./examples/reviews-only-productpage.yaml" with { type: "text" };
import strict from "./examples/strict.yaml" with { type: "text" };

export type ExampleName =
  | "bookstore.yaml"
  | "canary-90-10.yaml"
  | "canary-50-50.yaml"
  | "header-jason.yaml"
  | "strict.yaml"
  | "permissive.yaml"
  | "ratings-fail.yaml"
  | "reviews-only-productpage.yaml";

export const YAML_SOURCES: { readonly [file in ExampleName]: string } = {
  "bookstore.yaml": bookstore,
  "canary-90-10.yaml": canary9010,
  "canary-50-50.yaml": canary5050,
  "header-jason.yaml": headerJason,
  "strict.yaml": strict,
  "permissive.yaml": permissive,
  "ratings-fail.yaml": ratingsFail,
  "reviews-only-productpage.yaml": reviewsOnlyProductpage,
};
