/** Certificates in a chain: leaf and intermediates; a root may be at the end. Apart, so that who only counts loads no ASN.1. */
export const CHAIN_LENGTH_MAX = 5;
