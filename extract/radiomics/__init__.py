"""Radiomics features after IBSI, in the place of an encoder."""
